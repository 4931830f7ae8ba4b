/** The CNI plugin in Node.js, where the engine (cni-engine.ts) is not built. Its bundle is small: every container start waits for it. */

import { messageOf } from "../base/error.ts";
import { CNI_CODE, CniError } from "../cni/cni-error.ts";
import { MAX_INPUT_BYTES, PROMPT_INPUT_MS, runToExitCode } from "../cni/cni-plugin.ts";
import { nodeSystem } from "../cni/node-system.ts";
import { VERSION } from "./version.ts";

process.stdout.on("error", () => process.exit(1)); // the reader has closed it
process.stderr.on("error", () => {}); // stderr may be closed
void runToExitCode({
  system: nodeSystem({
    forwardedSignals: ["SIGTERM", "SIGINT"],
    onStderr: (text) => void process.stderr.write(text),
  }),
  environment: process.env,
  readInput,
  readPromptInput,
  print: (text) => void process.stdout.write(text),
  printError: (text) => void process.stderr.write(text),
  version: VERSION,
}).then((exitCode) => {
  process.exitCode = exitCode;
});

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
