/** The version of this build, from package.json: the build writes it into the bundle, sources read the file. */

import { readFileSync } from "node:fs";

declare const __VERSION__: string | undefined;

export const VERSION: string = `v${typeof __VERSION__ === "string" ? __VERSION__ : versionOfSources()}`;

function versionOfSources(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
