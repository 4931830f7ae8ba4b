/** This host's network and terminal, for the commands of flannelctl that examine them. */

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { silentLogger } from "../base/logger.ts";
import { arpProbe } from "../linux/arp-probe.ts";
import { askTcpPort, askUdpPort } from "../linux/ask-port.ts";
import { createDeviceSettings } from "../linux/device-settings.ts";
import { openEchoSocket } from "../linux/echo-socket.ts";
import { exec } from "../linux/exec.ts";
import { openRtnetlink } from "../linux/netlink-socket.ts";
import type { DiagnosePorts } from "../operate/diagnose/diagnose-ports.ts";
import { untilInterrupted } from "./terminal.ts";

export function diagnosePorts(): DiagnosePorts {
  const settings = createDeviceSettings({ logger: silentLogger });
  const { stdout } = process;
  return {
    openRtnetlink,
    openEcho: openEchoSocket,
    askUdpPort,
    askTcpPort,
    arpProbe,
    hasChecksumOffload: (device) => settings.read(device, "tx-checksum-ip-generic"),
    async runProgram(command, args) {
      try {
        return (await exec(command, args, { timeoutMs: 10_000 })).stdout;
      } catch {
        return undefined;
      }
    },
    readFile(path) {
      try {
        return readFileSync(path, "utf8");
      } catch {
        return undefined;
      }
    },
    nowMs: () => performance.now(),
    sleep: (ms) => sleep(ms),
    untilInterrupted,
    terminal: {
      isTerminal: stdout.isTTY === true,
      hasColours: stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb",
      size: () => ({ columns: stdout.columns ?? 80, rows: stdout.rows ?? 24 }),
      write: (text) => void stdout.write(text),
    },
  };
}
