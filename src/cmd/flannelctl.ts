/** The operator's tool: runs one command, and reports what it throws. */

import { accessSync, constants, statSync } from "node:fs";
import { basename, delimiter, isAbsolute, join, relative } from "node:path";
import { FlannelError } from "../base/error.ts";
import { printable } from "../base/printable.ts";
import type { CommandContext } from "../config/command.ts";
import { setProcessName } from "../linux/process-name.ts";
import { flannelctl } from "./flannelctl-commands.ts";
import { Progress } from "./progress.ts";

const progress = new Progress(process.stderr);
const context: CommandContext = {
  program: invocation(),
  print(line) {
    progress.clear();
    process.stdout.write(`${line}\n`);
  },
  printError(line) {
    progress.clear();
    process.stderr.write(`${line}\n`);
  },
  progress: (activity) => progress.show(activity),
};

// `ps` shows a password on the command line to every user.
if (process.argv.some((word) => /^--?etcd-password\b|:\/\/.*@/.test(word))) process.title = "flannelctl";
setProcessName("flannelctl");
process.stdout.on("error", () => process.exit(1)); // the reader has ended (`| head`)
void main().then((exitCode) => {
  process.exitCode = exitCode;
});

async function main(): Promise<number> {
  try {
    return await flannelctl.run(words(), context, context.program);
  } catch (error) {
    if (!(error instanceof FlannelError) && !(error instanceof Error && "code" in error)) throw error;
    const lines = error.message.split("\n").map(printable);
    context.printError(`flannelctl: ${lines.join("\n")}`);
    return 1;
  } finally {
    progress.show(undefined);
  }
}

/** "--version" is the command. */
function words(): string[] {
  const [first = "", ...rest] = process.argv.slice(2);
  return /^--?version$/.test(first) ? ["version", ...rest] : process.argv.slice(2);
}

/** How to call this program again from where the user is. The launcher says how it was called: argv has the bundle. */
function invocation(): string {
  const called = process.env.FLANNEL_CALLED_AS || process.argv[1] || "flannelctl";
  delete process.env.FLANNEL_CALLED_AS; // means nothing to programs that this one starts
  const name = basename(called);
  if (!isAbsolute(called)) return called;
  if (findInPath(name) === called) return name;
  const fromHere = relative(process.cwd(), called);
  if (fromHere.startsWith("..")) return called;
  return fromHere.includes("/") ? fromHere : `./${fromHere}`;
}

/** The program that a shell finds by this name. */
function findInPath(name: string): string | undefined {
  const directories = (process.env.PATH ?? "").split(delimiter).filter(isAbsolute);
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile(); // a directory can be “executed”, too
  } catch {
    return false;
  }
}
