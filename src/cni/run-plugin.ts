/**
 * Runs a CNI plugin: its config on stdin, its parameters in the environment, its result or error on stdout (CNI
 * specification 1.1.0, sections 2 and 4). Used by plugins that delegate and by callers that act as a runtime.
 */

import { hasCode, messageOf } from "../base/error.ts";
import { isObject } from "../config/json-members.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { Environment } from "./parameters.ts";
import { joinPath, type System } from "./system.ts";

/** One run of a plugin. */
export interface PluginCall {
  /** The plugin's executable; see {@link findPlugin}. */
  readonly path: string;
  /** JSON text. */
  readonly config: string;
  /** The whole environment: the CNI_* variables, PATH and others. */
  readonly environment: Environment;
}

/** Far above any result; a plugin that prints more is killed. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
/** An executable cannot be started while it is written (ETXTBSY), for instance by an installation. */
const BUSY_RETRIES = 5;
const BUSY_RETRY_MS = 1_000;
const EXCERPT_LENGTH = 300;

/** The path of a plugin's executable: the first regular file of that name. Throws CniError. */
export function findPlugin(system: System, type: string, directories: readonly string[]): string {
  if (type === "" || type.includes("/")) {
    throw new CniError(CNI_CODE.invalidConfig, `invalid plugin name: ${JSON.stringify(type)}`);
  }
  // A path that stat(2) refuses (a loop of links, a name that is too long) is skipped: another directory may have the plugin.
  const path = directories
    .map((directory) => joinPath(directory, type))
    .find((candidate) => system.isFile(candidate));
  if (path !== undefined) return path;
  throw new CniError(
    CNI_CODE.internal,
    `failed to find plugin ${JSON.stringify(type)} in path [${directories.join(" ")}]: install it in one of these ` +
      "directories (it comes with containernetworking/plugins), or have the runtime put its directory into CNI_PATH",
  );
}

/**
 * Runs a plugin to its end and returns its stdout. Throws CniError: the plugin's own, with its code, message and details, or
 * one that says what is wrong with the plugin.
 */
export async function runPlugin(system: System, call: PluginCall): Promise<string> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await runOnce(system, call);
    } catch (error) {
      if (!hasCode(error, "ETXTBSY") || attempt === BUSY_RETRIES) throw asCniError(error, call.path);
      await system.sleep(BUSY_RETRY_MS);
    }
  }
}

async function runOnce(system: System, { path, config, environment }: PluginCall): Promise<string> {
  const { exitCode, signal, output, isOutputCut, complaint } = await system.run({
    path,
    input: config,
    environment,
    maxOutputBytes: MAX_OUTPUT_BYTES,
  });
  if (exitCode === 0 && signal === undefined) return output;
  const failure = `${path} failed (${signal === undefined ? `exit code ${exitCode}` : `ended by ${signal}`})`;
  if (isOutputCut) {
    throw new CniError(CNI_CODE.internal, `${failure}: it printed more than ${MAX_OUTPUT_BYTES} bytes`);
  }
  throw errorOf(failure, output, complaint.trim());
}

/** The error that a failed plugin printed, or one made from its exit code and output. */
function errorOf(failure: string, output: string, complaint: string): CniError {
  const said = parseJson(output);
  if (isObject(said) && typeof said.msg === "string") {
    const { code, msg, details } = said;
    return new CniError(
      typeof code === "number" && code > 0 ? code : CNI_CODE.internal,
      msg,
      typeof details === "string" ? details : "",
    );
  }
  if (output.trim() !== "") {
    return new CniError(CNI_CODE.internal, `${failure} and printed no CNI error: ${excerptOf(output)}`);
  }
  return new CniError(
    CNI_CODE.internal,
    complaint === "" ? `${failure} without an error message` : `${failure}: ${excerptOf(complaint)}`,
  );
}

/**
 * The result of an ADD as text; a missing cniVersion is filled in. Throws CniError (code 6) if it is not a JSON object.
 *
 * @param version the version of the plugin's config
 */
export function checkResult(path: string, output: string, version: string): string {
  const result = parseJson(output);
  if (!isObject(result)) {
    throw new CniError(CNI_CODE.decoding, `${path} printed no CNI result: ${excerptOf(output)}`);
  }
  if (typeof result.cniVersion === "string" && result.cniVersion !== "") return output;
  return `${JSON.stringify({ ...result, cniVersion: version }, undefined, 4)}\n`;
}

function asCniError(error: unknown, path: string): CniError {
  if (error instanceof CniError) return error;
  const hint = hasCode(error, "EACCES") ? "; is it executable, and its file system not mounted noexec?" : "";
  return new CniError(CNI_CODE.internal, `cannot run ${path}: ${messageOf(error)}${hint}`, "", {
    cause: error,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const excerptOf = (text: string): string =>
  JSON.stringify(text.length > EXCERPT_LENGTH ? `${text.slice(0, EXCERPT_LENGTH)}…` : text);
