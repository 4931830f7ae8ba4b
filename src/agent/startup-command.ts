/** Runs the command that a backend needs the output of before it can be created (the extension backend's PreStartupCommand). */

import { ConfigError, messageOf } from "../base/error.ts";
import { backoff, retry } from "../base/retry.ts";
import type { AgentPorts } from "./ports.ts";

export type StartupCommandPorts = Pick<AgentPorts, "runStartupCommand" | "logger" | "timers">;

/** Then flanneld exits: its next start reads the network config again, which may have another command. */
const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;

/** Its output; undefined if aborted. Throws ConfigError after five attempts that failed. */
export async function runStartupCommand(
  command: string,
  signal: AbortSignal,
  ports: StartupCommandPorts,
  onProblem: (problem: string | undefined) => void,
): Promise<string | undefined> {
  const run = ports.runStartupCommand;
  if (run === undefined) throw new ConfigError("this program runs no startup commands of backends");
  let attempts = 0;
  const output = await retry(
    {
      failure: "Failed to run PreStartupCommand",
      attempt: () => {
        attempts++;
        return run(command);
      },
      pauseMs: backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS, () => 0.5),
      signal,
      describe(error) {
        if (attempts < ATTEMPTS) return messageOf(error);
        throw new ConfigError(
          `PreStartupCommand failed ${attempts} times; check Backend.PreStartupCommand in the network config: ${messageOf(error)}`,
          { cause: error },
        );
      },
      onProblem,
    },
    ports,
  );
  if (output !== undefined)
    ports.logger.info(`PreStartupCommand printed ${output.length} characters for the lease`);
  return output;
}
