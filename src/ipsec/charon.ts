/**
 * strongSwan's IKE daemon charon: the one that listens on the VICI socket, or a child of this process with a configuration of
 * its own. A child that dies is started again when it is asked for next, at growing intervals; it ends with this process.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FlannelError, hasCode } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { printable } from "../base/printable.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { ViciClient } from "./vici-client.ts";

export interface CharonOptions {
  /** The VICI socket. */
  readonly socketPath: string;
  /** For the configuration of a child. */
  readonly directory: string;
  /** Plugins of a child; those that are not installed are left out by charon. */
  readonly plugins?: readonly string[];
  /** The command that runs a child; default: the program alone. */
  readonly commandFor?: (program: string) => readonly [string, ...string[]];
  readonly logger: Logger;
  readonly timers: Timers;
}

/** Where the socket is by default in strongSwan. */
export const VICI_SOCKET = "/var/run/charon.vici";

/** Directories of charon: $PATH has it nowhere. Alpine, Debian, Fedora, openSUSE. */
const DIRECTORIES = [
  "/usr/lib/strongswan",
  "/usr/lib/ipsec",
  "/usr/libexec/strongswan",
  "/usr/libexec/ipsec",
];
/** Kernel, sockets, control, and the cryptography of the proposals, from OpenSSL or strongSwan's own. */
const PLUGINS = [
  "random",
  "nonce",
  "openssl",
  "aes",
  "sha1",
  "sha2",
  "hmac",
  "kdf",
  "gmp",
  "gcm",
  "curve25519",
];
const SYSTEM_PLUGINS = ["kernel-netlink", "socket-default", "vici"];

/** How long a child may take to open its socket. */
const START_MS = 5_000;
const POLL_MS = 20;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** A child that lived so long counts as one that works. */
const STABLE_MS = 60_000;

export class Charon implements Disposable {
  readonly #options: CharonOptions;
  #client: ViciClient | undefined;
  #child: ChildProcess | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #isDisposed = false;

  constructor(options: CharonOptions) {
    this.#options = options;
  }

  /** The connection, if there is one. */
  get current(): ViciClient | undefined {
    return this.#client?.closed.aborted === false ? this.#client : undefined;
  }

  /** Connects, and starts charon if none is there. Rejects with FlannelError; EAGAIN = the pause after a crash. */
  async client(): Promise<ViciClient> {
    if (this.current !== undefined) return this.current;
    const { socketPath, logger } = this.#options;
    try {
      this.#client = await ViciClient.connect(socketPath);
      if (this.#child === undefined) logger.info(`Using the charon that listens on ${socketPath}`);
      return this.#client;
    } catch (error) {
      if (!hasCode(error, "ENOENT") && !hasCode(error, "ECONNREFUSED")) throw error;
    }
    this.#start();
    return this.#awaitSocket();
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#client?.[Symbol.dispose]();
    this.#child?.kill("SIGTERM");
  }

  async #awaitSocket(): Promise<ViciClient> {
    const { socketPath, timers } = this.#options;
    const endMs = timers.nowMs() + START_MS;
    for (;;) {
      try {
        this.#client = await ViciClient.connect(socketPath);
        return this.#client;
      } catch (error) {
        if (this.#child === undefined)
          throw new FlannelError("ECHILD", "charon ended at its start; see its lines above");
        if (timers.nowMs() >= endMs) throw error;
      }
      await sleep(timers, POLL_MS);
    }
  }

  #start(): void {
    const { timers, logger } = this.#options;
    if (this.#child !== undefined) return;
    if (this.#isDisposed) throw new FlannelError("ECANCELED", "flanneld is stopping");
    if (timers.nowMs() < this.#notBeforeMs)
      throw new FlannelError("EAGAIN", "charon ended; it is started again after a pause");
    const program = findCharon();
    const startedMs = timers.nowMs();
    const [command, ...args] = this.#options.commandFor?.(program) ?? [program];
    const child = spawn(command, args, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, STRONGSWAN_CONF: this.#writeConfig() },
    });
    this.#child = child;
    let partial = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      const lines = `${partial}${text}`.split("\n");
      partial = lines.pop()!.slice(0, 1000);
      for (const line of lines) logger.debug(`charon: ${printable(line.slice(0, 300))}`);
    });
    const onEnd = (how: string) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      if (timers.nowMs() - startedMs > STABLE_MS) this.#pauseMs = FIRST_PAUSE_MS;
      this.#notBeforeMs = timers.nowMs() + this.#pauseMs;
      if (!this.#isDisposed)
        logger.error(
          `charon ended (${how}); starting it again in ${this.#pauseMs / 1000} s; run flanneld with -v=1 to see its log`,
        );
      this.#pauseMs = Math.min(LONGEST_PAUSE_MS, this.#pauseMs * 2);
    };
    child.on("error", (error) => onEnd(error.message));
    child.on("exit", (code, signal) => onEnd(signal ?? `exit code ${code}`));
    process.once("exit", () => child.kill("SIGTERM"));
    logger.info(`Started ${program}`);
  }

  /** Writes the child's configuration, which has no secrets; its path. */
  #writeConfig(): string {
    const { directory, socketPath, plugins = PLUGINS } = this.#options;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const path = join(directory, "strongswan.conf");
    writeFileSync(
      path,
      `charon {
  load = ${[...plugins, ...SYSTEM_PLUGINS].join(" ")}
  install_routes = no
  install_virtual_ip = no
  retransmit_tries = 3
  retransmit_timeout = 2.0
  plugins {
    vici {
      socket = unix://${socketPath}
    }
  }
  filelog {
    stderr {
      default = 1
      flush_line = yes
    }
  }
}
`,
      { mode: 0o600 },
    );
    return path;
  }
}

function findCharon(): string {
  for (const directory of DIRECTORIES) {
    const path = join(directory, "charon");
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // the next one
    }
  }
  throw new FlannelError(
    "ENOENT",
    `charon is not installed: install strongSwan (Debian: strongswan-charon, libstrongswan-standard-plugins), or start one that listens on ${VICI_SOCKET}`,
  );
}
