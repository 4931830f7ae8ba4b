/** bin/flannel: the CNI plugin. Its bundle is kept small, because every container start waits for it. */

import { messageOf } from "../base/error.ts";
import { CNI_CODE, CniError, formatError } from "../cni/cni-error.ts";
import { runFlannelPlugin } from "../cni/cni-plugin.ts";
import { nodeSystem } from "../cni/node-system.ts";
import { CURRENT_VERSION } from "../cni/versions.ts";
import { VERSION } from "./version.ts";

/** Far above a config with the attachments of thousands of containers. */
const MAX_INPUT_BYTES = 16 * 1024 * 1024;
/** The runtime has written its config by the time the plugin runs; a terminal or a forgotten pipe never will. */
const PROMPT_INPUT_MS = 100;

const print = (text: string): void => void process.stdout.write(text);

process.stdout.on("error", () => process.exit(1)); // the reader has closed it
process.stderr.on("error", () => {}); // stderr may be closed
void main().then((exitCode) => {
  process.exitCode = exitCode;
});

async function main(): Promise<number> {
  try {
    return await runFlannelPlugin({
      system: nodeSystem({
        forwardedSignals: ["SIGTERM", "SIGINT"],
        onStderr: (text) => void process.stderr.write(text),
      }),
      environment: process.env,
      readInput,
      readPromptInput,
      print,
      printError: (text) => void process.stderr.write(text),
      version: VERSION,
    });
  } catch (error) {
    // A broken invariant: the runtime needs an error object, and developers the stack trace.
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
    print(formatError(new CniError(CNI_CODE.internal, messageOf(error)), CURRENT_VERSION));
    return 1;
  }
}

async function readInput(): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of process.stdin) {
      chunks.push(chunk as Buffer);
      length += (chunk as Buffer).length;
      if (length > MAX_INPUT_BYTES) break;
    }
  } catch (error) {
    throw new CniError(CNI_CODE.io, `cannot read standard input: ${messageOf(error)}`);
  }
  if (length > MAX_INPUT_BYTES) {
    throw new CniError(
      CNI_CODE.io,
      `the network config on standard input is larger than ${MAX_INPUT_BYTES} bytes`,
    );
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function readPromptInput(): Promise<string> {
  if (process.stdin.isTTY) return "";
  const timer = setTimeout(() => process.stdin.destroy(), PROMPT_INPUT_MS);
  try {
    return await readInput();
  } catch {
    return "";
  } finally {
    clearTimeout(timer);
  }
}
