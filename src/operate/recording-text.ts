/** Recordings of the flight recorder for people: reading the file, and one line for each entry. */

import { ConfigError, messageOf } from "../base/error.ts";
import type { RecorderEntry } from "../recorder/entries.ts";
import {
  MAX_RECORDING_BYTES,
  parseRecording,
  type Recording,
  type RecordingHeader,
} from "../recorder/recording-file.ts";
import { describeObject } from "../state/objects.ts";

/** Throws ConfigError that names the file, and says what is wrong with it. */
export function readRecording(path: string, readFile: (path: string) => string | undefined): Recording {
  const text = readFile(path);
  if (text === undefined)
    throw new ConfigError(
      `failed to read ${path}: there is no recording; flanneld writes it when it ends, and on SIGUSR2`,
    );
  if (text.length > MAX_RECORDING_BYTES)
    throw new ConfigError(`failed to read ${path}: it is larger than any recording of flanneld`);
  try {
    return parseRecording(text);
  } catch (error) {
    throw new ConfigError(`failed to read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** "recorded on h1 by flanneld v1, …". */
export const describeHeader = ({ host, flannel, startedAt, savedAt }: RecordingHeader): string =>
  `recorded on ${host} by flanneld ${flannel}, started ${startedAt}, written ${savedAt}`;

/** ISO 8601; a time outside of what a date can be is shown as a number. */
const timeText = (ms: number): string => (Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms));

/** Time, type, and what happened. */
export const describeEntry = (entry: RecorderEntry): string =>
  `${timeText(entry.atMs)}  ${entry.type.padEnd(9)}  ${describe(entry)}`;

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
