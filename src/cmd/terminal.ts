/** The terminal side of flannelctl: files and standard input, questions, Ctrl-C. */

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline/promises";
import { ConfigError, messageOf } from "../base/error.ts";

/** Far above any real input; etcd accepts 1.5 MB at most. */
const MAX_TEXT_BYTES = 1024 * 1024;

/** The text of a file, or of standard input for "-", without a byte order mark. Throws ConfigError. */
export async function readText(path: string): Promise<string> {
  const name = path === "-" ? "standard input" : path;
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of path === "-" ? process.stdin : createReadStream(path)) {
      chunks.push(chunk as Buffer);
      length += (chunk as Buffer).length;
      if (length > MAX_TEXT_BYTES) break;
    }
  } catch (error) {
    throw new ConfigError(`failed to read ${name}: ${messageOf(error)}`, { cause: error });
  }
  if (length > MAX_TEXT_BYTES) throw new ConfigError(`${name} is larger than ${MAX_TEXT_BYTES} bytes`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new ConfigError(`${name} is not text in UTF-8`);
  }
}

/** Asks for a yes at the terminal, anything else being a no; undefined = there is no terminal. */
export async function confirm(question: string): Promise<boolean | undefined> {
  if (!process.stdin.isTTY) return undefined;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const interrupted = new AbortController();
  terminal.on("close", () => interrupted.abort()); // Ctrl-C or Ctrl-D
  try {
    const answer = await terminal.question(`${question} [y/N] `, { signal: interrupted.signal });
    return /^y(es)?$/i.test(answer.trim());
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
    process.stderr.write("\n");
    return false;
  } finally {
    terminal.close();
  }
}

/** Aborted by Ctrl-C or SIGTERM, which from then on do not end the process. */
export function untilInterrupted(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => controller.abort());
  return controller.signal;
}
