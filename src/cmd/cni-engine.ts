/** The CNI plugin as it runs on nodes: in the engine of native/cni-engine, which starts in a tenth of Node.js's time. */

import { hasCode, messageOf } from "../base/error.ts";
import { CNI_CODE, CniError } from "../cni/cni-error.ts";
import { MAX_INPUT_BYTES, PROMPT_INPUT_MS, runToExitCode } from "../cni/cni-plugin.ts";
import { type EngineHost, engineSystem, writeText } from "../cni/engine-system.ts";

declare const host: EngineHost;
declare const __VERSION__: string;

const END_OF_INPUT = -1;

void runToExitCode({
  system: engineSystem(host),
  environment: Object.fromEntries(host.environment),
  readInput: async () => readInput(),
  readPromptInput: async () => readPromptInput(),
  print: (text) => writeText(host, 1, text),
  printError: (text) => writeText(host, 2, text),
  version: `v${__VERSION__}`,
}).then((exitCode) => {
  host.exitCode = exitCode;
});

function readPromptInput(): string {
  try {
    return host.readInput(MAX_INPUT_BYTES, PROMPT_INPUT_MS);
  } catch {
    return "";
  }
}

function readInput(): string {
  try {
    return host.readInput(MAX_INPUT_BYTES, END_OF_INPUT);
  } catch (error) {
    throw new CniError(
      CNI_CODE.io,
      hasCode(error, "EFBIG")
        ? `the network config on standard input is larger than ${MAX_INPUT_BYTES} bytes`
        : `cannot read standard input: ${messageOf(error)}`,
    );
  }
}
