/** Recordings of the flight recorder for people: reading the file, and one line for each entry. */

import { ConfigError, FlannelError, messageOf } from "../base/error.ts";
import type { RecorderEntry } from "../recorder/entries.ts";
import type { PlanInputs } from "../recorder/plan-inputs.ts";
import {
  MAX_RECORDING_BYTES,
  parseRecording,
  type Recording,
  type RecordingHeader,
  recordingPathOf,
} from "../recorder/recording-file.ts";
import { describeObject } from "../state/objects.ts";
import { askDaemonText } from "../status/status-client.ts";

/** The text of what the running flanneld has recorded. Throws FlannelError: none answers, or it is one that does not give it out. */
export const askRecording = (socket: string): Promise<string> => askDaemonText(socket, "/v1/recorder");

/**
 * The recording of the running flanneld; of the last run from its file if none answers. Throws ConfigError that names the file, and
 * says what is wrong with it.
 */
export async function currentRecording(
  socket: string,
  readFile: (path: string) => string | undefined,
): Promise<Recording> {
  let text: string;
  try {
    text = await askRecording(socket);
  } catch (error) {
    if (!(error instanceof FlannelError)) throw error;
    return readRecording(recordingPathOf(socket), readFile);
  }
  return parse(text, `the recording of the flanneld at ${socket}`);
}

/** Throws ConfigError that names the file, and says what is wrong with it. */
export function readRecording(path: string, readFile: (path: string) => string | undefined): Recording {
  const text = readFile(path);
  if (text === undefined)
    throw new ConfigError(
      `failed to read ${path}: there is no recording; flanneld writes it when it ends, and on SIGUSR2`,
    );
  return parse(text, path);
}

function parse(text: string, where: string): Recording {
  if (text.length > MAX_RECORDING_BYTES)
    throw new ConfigError(`failed to read ${where}: it is larger than any recording of flanneld`);
  try {
    return parseRecording(text);
  } catch (error) {
    throw new ConfigError(`failed to read ${where}: ${messageOf(error)}`, { cause: error });
  }
}

/** "recorded on h1 by flanneld v1, …". */
export const describeHeader = ({ host, flannel, startedAt, savedAt }: RecordingHeader): string =>
  `recorded on ${host} by flanneld ${flannel}, started ${startedAt}, written ${savedAt}`;

/** ISO 8601; a time outside of what a date can be is shown as a number. */
const timeText = (ms: number): string => (Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms));

/** Time, type, and what happened; one line more for what a desired state was planned from. */
export function describeEntry(entry: RecorderEntry): readonly string[] {
  const line = (type: string, what: string) => `${timeText(entry.atMs)}  ${type.padEnd(9)}  ${what}`;
  const inputs = entry.type === "target" ? entry.inputs : undefined;
  return [
    ...(inputs === undefined ? [] : [line("inputs", describeInputs(inputs))]),
    line(entry.type, describe(entry)),
  ];
}

function describeInputs({ config, own, isKnown, ...lists }: PlanInputs): string {
  const names = {
    leases: ["lease", "set"],
    renewals: ["lease", "renewed"],
    goneLeases: ["lease", "gone"],
    hops: ["next hop", "found"],
    goneHops: ["next hop", "forgotten"],
  } as const;
  const counts = Object.entries(names).flatMap(([name, [what, change]]) => {
    const count = lists[name as keyof typeof names]?.length ?? 0;
    return count === 0 ? [] : [`${count} ${what}${count === 1 ? "" : "s"} ${change}`];
  });
  const parts = [
    ...(config === undefined
      ? []
      : [`config of ${config.network.backend.type} on ${config.host.interfaceName}`]),
    ...(own === undefined ? [] : [own === null ? "no own lease" : `own lease ${own.key}`]),
    ...(isKnown === undefined ? [] : [isKnown ? "leases known" : "leases not known"]),
    ...counts,
  ];
  return `planned from: ${parts.join(", ")}`;
}

function describe(entry: RecorderEntry): string {
  switch (entry.type) {
    case "target": {
      const others = entry.keepOthers ? "; nothing is removed until the peers are known" : "";
      return `desired state: ${entry.set.length} objects set, ${entry.gone.length} gone${others}`;
    }
    case "pass": {
      const failed = entry.operations.filter(({ problem }) => problem !== undefined);
      const [first] = failed.length > 0 ? failed : entry.operations;
      const example =
        first === undefined
          ? ""
          : `: ${first.action} ${first.object}${first.problem === undefined ? "" : ` (refused: ${first.problem})`}`;
      const refused = failed.length === 0 ? "" : `, ${failed.length} refused`;
      const count = `${entry.tried} ${entry.tried === 1 ? "operation" : "operations"}`;
      return `${count} in ${entry.tookMs} ms${refused}${example}`;
    }
    case "drift": {
      const [first] = entry.operations;
      const more = entry.operations.length > 1 ? ` and ${entry.operations.length - 1} more` : "";
      return first === undefined
        ? "nothing"
        : `repaired: ${first.action} ${describeObject(first.object)}${more}`;
    }
    default:
      return entry.message;
  }
}
