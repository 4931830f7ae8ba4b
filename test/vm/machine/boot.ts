/**
 * Boots Debian's cloud kernel in QEMU, without KVM, and runs tests in it: for what the kernel of this machine lacks
 * (WireGuard, IPIP, ESP). One boot for all files; the machine has no disk and no network of its own.
 * usage: boot.ts FILE…   (prints what the tests print; exits with their code)
 */

import { spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { layOutRoot } from "./root.ts";

const PROJECT = join(import.meta.dirname, "../../..");
/** What the firmware clears the screen with. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
const TERMINAL_CODES = /\x1bc|\x1b\[[?\d;]*[a-zA-Z]/g;
/** The emulated processor is some twenty times slower than this machine's. */
const TIME_LIMIT_MS = 600_000;

const tests = process.argv.slice(2);
process.exitCode = await runInMachine(tests);

async function runInMachine(files: readonly string[]): Promise<number> {
  const release = findKernel();
  const directory = mkdtempSync(join(tmpdir(), `flannel-vm-${process.pid}-`));
  try {
    const root = join(directory, "root");
    await layOutRoot({ root, project: PROJECT, release, tests: files });
    const initramfs = join(directory, "initramfs.cpio");
    pack(root, initramfs);
    return await boot(`/boot/vmlinuz-${release}`, initramfs);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The newest kernel whose modules are there. */
function findKernel(): string {
  const releases = readdirSync("/boot").flatMap((name) => /^vmlinuz-(.*-cloud-amd64)$/.exec(name)?.[1] ?? []);
  const newest = releases.sort().at(-1);
  if (newest === undefined)
    throw new Error("no kernel /boot/vmlinuz-*-cloud-amd64: install the package linux-image-cloud-amd64");
  return newest;
}

/** "newc", the format of the kernel; busybox's cpio, because Debian's is not on every machine. */
function pack(root: string, file: string): void {
  const fd = openSync(file, "w");
  const { status, stderr } = spawnSync("sh", ["-c", "find . | busybox cpio -o -H newc"], {
    cwd: root,
    stdio: ["ignore", fd, "pipe"],
  });
  closeSync(fd);
  if (status !== 0) throw new Error(`failed to pack the initramfs: ${stderr}`);
}

async function boot(kernel: string, initramfs: string): Promise<number> {
  const args = [
    ...["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536"],
    ...["-nographic", "-nodefaults", "-no-reboot", "-serial", "stdio"],
    ...[
      "-kernel",
      kernel,
      "-initrd",
      initramfs,
      "-append",
      "console=ttyS0 quiet panic=-1 random.trust_cpu=on",
    ],
  ];
  const machine = spawn("qemu-system-x86_64", args, { stdio: ["ignore", "pipe", "inherit"] });
  const failed = new Promise<never>((_, reject) => machine.once("error", reject));
  const ended = new Promise<void>((resolve) => machine.once("close", () => resolve()));
  const timer = setTimeout(() => {
    process.stdout.write(`the virtual machine has run for ${TIME_LIMIT_MS / 1000} s: killed\n`);
    machine.kill("SIGKILL");
  }, TIME_LIMIT_MS);
  let exitCode: number | undefined;
  createInterface({ input: machine.stdout }).on("line", (line) => {
    const found = /^vm: exit (\d+)/.exec(line);
    if (found === null) process.stdout.write(`${line.replace(TERMINAL_CODES, "")}\n`);
    else exitCode = Number(found[1]);
  });
  await Promise.race([ended, failed]).finally(() => clearTimeout(timer));
  if (exitCode === undefined) process.stdout.write("the virtual machine ended before its tests did\n");
  return exitCode ?? 1;
}
