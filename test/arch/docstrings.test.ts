/**
 * Every exported function and type of the folders that others build on has a doc comment: meaning, units, errors, source.
 * What a comment says is for the reviewer. Kernel constants (`IFLA_VXLAN_ID`) share the comment of their block, which cites the header.
 */

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const src = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), "src");
const FOLDERS = [
  ...["address", "netlink", "packet", "state", "lease", "backend", "firewall"],
  ...["recorder", "probe", "status", "operate", "ipsec"],
];
const EXPORT = /^export (?:async )?(?:abstract )?(?:function\*?|class|interface|type|const) (\w+)/;
const CONSTANT = /^export const [A-Z][A-Z0-9_]*\b/;

/** The exports of a source without a comment that ends on the line before, as "line: name". */
function findUndocumented(text: string): string[] {
  const lines = text.split("\n");
  return lines.flatMap((line, index) => {
    const name = EXPORT.exec(line)?.[1];
    if (name === undefined || CONSTANT.test(line) || lines[index - 1]?.endsWith("*/")) return [];
    return [`${index + 1}: ${name}`];
  });
}

for (const folder of FOLDERS) {
  test(`every exported function and type of ${folder} has a doc comment`, () => {
    const files = globSync("**/*.ts", { cwd: join(src, folder) }).filter(
      (file) => !/\.(test|bench)\.ts$/.test(file),
    );
    assert.notDeepEqual(files, []);
    const missing = files.flatMap((file) =>
      findUndocumented(readFileSync(join(src, folder, file), "utf8")).map(
        (each) => `src/${folder}/${file}:${each}`,
      ),
    );
    assert.deepEqual(missing, []);
  });
}

test("the search finds what has no comment, and only that", () => {
  const documented = ["/** A. */", "export const a = 1;", "export const A_B = 2;"];
  const bare = ["", "export async function* b() {}", "export type C = 1;", "// D.", "export interface D {}"];
  assert.deepEqual(findUndocumented([...documented, ...bare].join("\n")), ["5: b", "6: C", "8: D"]);
});
