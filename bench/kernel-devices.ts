/**
 * wireguard and ipip on the kernel's devices, in the virtual machine whose kernel has them (vm/kernel-devices.test.ts). Its
 * emulated processor slows both sides of a comparison down, so that only ratios have bars.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Benchmark } from "./support/benchmark.ts";
import type { Measurement } from "./support/measurement.ts";

export const kernelDevices: Benchmark = {
  name: "kernel-devices",
  async run({ progress }) {
    const directory = join(import.meta.dirname, "..");
    const boot = join(directory, "test/vm/machine/boot.ts");
    const machine = spawn(process.execPath, [boot, "bench/vm/kernel-devices.test.ts"], {
      cwd: directory,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exit = once(machine, "exit"); // may come before the end of its output
    const measurements: Measurement[] = [];
    const lines: string[] = [];
    for await (const line of createInterface({ input: machine.stdout })) {
      lines.push(line);
      const found = /^\s*ℹ measurement (\{.*\})$/.exec(line);
      if (found !== null) measurements.push(JSON.parse(found[1]!) as Measurement);
      else progress(line);
    }
    const [code] = await exit;
    if (code !== 0 || measurements.length === 0)
      throw new Error(`the virtual machine's tests failed:\n${lines.join("\n")}`);
    return measurements;
  },
};
