/** Running a command of the user's on a node of a lab. */

import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { ConfigError, FlannelError, hasCode, messageOf } from "../../base/error.ts";
import { netnsPath, withNetns } from "../../linux/netns.ts";
import { type Node, nodesOf, type Topology } from "../plan/topology.ts";

/** The node of that name ("h1", "h1-c1", "hub"), or the first container of a host. Throws ConfigError. */
export function findNode(topology: Topology, name: string, container: boolean): Node {
  const candidates = container ? topology.hosts : nodesOf(topology);
  const node = candidates.find((candidate) => candidate.name === name);
  const host = container ? topology.hosts.find((candidate) => candidate === node) : undefined;
  if (node !== undefined) return host?.containers[0] ?? node;
  throw new ConfigError(
    `there is no ${JSON.stringify(name)} in lab ${topology.name}; there are: ${candidates.map((candidate) => candidate.name).join(", ")}`,
  );
}

/**
 * Runs the command with our standard input and output, and passes signals on. Resolves to its exit code, 128 + n if
 * signal n ended it. Throws FlannelError if it fails to start.
 */
export async function execOnNode(node: Node, command: readonly string[]): Promise<number> {
  const [program, ...args] = command;
  if (program === undefined) throw new ConfigError("no command given: write it after --");
  let child: ChildProcess | undefined;
  const pass = (signal: NodeJS.Signals): void => void child?.kill(signal);
  // The terminal sends its signals to the command too: then we only have to outlive it.
  const ignore = (): void => {};
  // Before the command starts: it may be signalled as soon as it is visible.
  process.on("SIGTERM", pass).on("SIGHUP", pass).on("SIGINT", ignore).on("SIGQUIT", ignore);
  try {
    child = withNetns(netnsPath(node.netns), () => spawn(program, args, { stdio: "inherit" }));
    return await exitCodeOf(child, program);
  } finally {
    process.off("SIGTERM", pass).off("SIGHUP", pass).off("SIGINT", ignore).off("SIGQUIT", ignore);
  }
}

const exitCodeOf = (child: ChildProcess, program: string): Promise<number> =>
  new Promise((resolve, reject) => {
    child.on("error", (error) => reject(cannotRun(program, error)));
    child.on("exit", (code, signal) => resolve(code ?? 128 + constants.signals[signal!]));
  });

function cannotRun(program: string, error: Error): FlannelError {
  if (hasCode(error, "ENOENT")) return new FlannelError("ENOENT", `${program}: not found`);
  return new FlannelError("ENOEXEC", `${program}: failed to start: ${messageOf(error)}`);
}
