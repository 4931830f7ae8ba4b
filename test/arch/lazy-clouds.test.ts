/** What a daemon without a cloud backend loads: no client of any cloud, neither its HTTP client nor its libraries. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const src = fileURLToPath(new URL("../../src", import.meta.url));

/** The files below src, and the packages, that are evaluated with a file: types and `await import()` are not. */
function loadedWith(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  const text = readFileSync(join(src, file), "utf8");
  for (const [, what, specifier] of text.matchAll(/^(?:import|export)\s+([^;]*?)from\s+"([^"]+)";/gms)) {
    if (what!.startsWith("type ")) continue;
    if (specifier!.startsWith(".")) loadedWith(normalize(join(dirname(file), specifier!)), seen);
    else seen.add(specifier!);
  }
  return seen;
}

test("flanneld loads the client of a cloud only where it is used", () => {
  const loaded = [...loadedWith("cmd/flanneld.ts")];
  assert.ok(loaded.includes("cloud/cloud-route-provider.ts"), "the search follows imports");
  assert.deepEqual(
    loaded.filter((name) => /^cloud\/(?:\w+\/|http)|^aws4$|parse-xml/.test(name)),
    [],
  );
});

test("the search finds what the client of AWS loads", () => {
  const loaded = loadedWith("cloud/aws/aws-vpc.ts");
  for (const name of ["aws4", "@rgrove/parse-xml", "cloud/aws/ec2-api.ts"]) assert.ok(loaded.has(name), name);
});
