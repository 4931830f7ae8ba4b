/** The version and the commit of this build, from package.json: the build writes it into the bundle, sources read the file. */

import { readFileSync } from "node:fs";

declare const __VERSION__: string | undefined;
declare const __REVISION__: string | undefined;

export const VERSION: string = `v${typeof __VERSION__ === "string" ? __VERSION__ : versionOfSources()}`;

/** The commit that the bundle was built from; undefined = unknown: run from sources, or built without git. */
export const REVISION: string | undefined =
  typeof __REVISION__ === "string" && __REVISION__ !== "" ? __REVISION__ : undefined;

function versionOfSources(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
