/** Fresh network namespaces for tests, always deleted after the test, and commands in them. */

import { execFileSync } from "node:child_process";
import { createNetns, deleteNetns, netnsPath, withNetns } from "../../src/linux/netns.ts";
import { pauseAfter } from "../support/until.ts";

/** The part of node:test's TestContext that is needed: where to register the clean-up. */
interface Scope {
  after(clean: () => void): void;
}

/** A namespace that belongs to the test. */
export interface TestNetns {
  readonly name: string;
  /** /run/netns/NAME. */
  readonly path: string;
  /** Runs a program in it; its standard output. Throws with its stderr if it fails. */
  run(program: string, ...args: string[]): string;
  /** The same for programs that print JSON: `ip -json …`, `bridge -json …`. */
  // biome-ignore lint/suspicious/noExplicitAny: the shape is the other program's
  json(program: string, ...args: string[]): any;
}

let count = 0;

/** Creates a namespace with lo up. Its name contains the pid: test files run in parallel. */
export function freshNetns(scope: Scope, label = "t"): TestNetns {
  const name = `ft-${process.pid}-${label}${count++}`;
  const path = netnsPath(name);
  createNetns(name);
  const remove = (): void => deleteNetns(name);
  process.once("exit", remove); // when the test is cut short by process.exit() or an uncaught error
  scope.after(() => {
    process.removeListener("exit", remove);
    remove();
  });
  const run = (program: string, ...args: string[]): string =>
    withNetns(path, () =>
      execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }),
    );
  run("ip", "link", "set", "lo", "up");
  return {
    name,
    path,
    run,
    json: (program, ...args) => JSON.parse(run(program, ...args) || "[]"),
  };
}

/** Waits until `condition` returns a value that is not undefined or false; that value. Fails after the deadline. */
export async function waitFor<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  deadlineMs = 20_000,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const startedMs = performance.now();
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await pauseAfter(performance.now() - startedMs);
  }
}
