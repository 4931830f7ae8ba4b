/**
 * The version and the commit of this build, from package.json: the build writes it into the bundle, sources read the file;
 * and what `version` prints. Its first word is the version alone, as Go's flanneld prints it.
 */

import { readFileSync } from "node:fs";
import { ConfigError } from "../base/error.ts";

declare const __VERSION__: string | undefined;
declare const __REVISION__: string | undefined;

export const VERSION: string = `v${typeof __VERSION__ === "string" ? __VERSION__ : versionOfSources()}`;

/** The commit that the bundle was built from; undefined = unknown: run from sources, or built without git. */
export const REVISION: string | undefined =
  typeof __REVISION__ === "string" && __REVISION__ !== "" ? __REVISION__ : undefined;

/** What `version` prints: "v0.1.0 (commit 8d1f…, Node.js v26.10.0, linux/amd64)", or one JSON object. Throws ConfigError. */
export function describeVersion(format: string): string {
  // As images, packages and other plugins call it.
  const platform = `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`;
  switch (format) {
    case "json": {
      const commit = REVISION ?? null;
      return JSON.stringify({ version: VERSION, commit, node: process.version, platform });
    }
    case "text":
      return `${VERSION} (commit ${REVISION ?? "unknown"}, Node.js ${process.version}, ${platform})`;
    default:
      throw new ConfigError(`-o: ${JSON.stringify(format)} is neither text nor json`);
  }
}

function versionOfSources(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
