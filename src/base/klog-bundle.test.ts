/** What the build promises the log: a line that comes out of a bundle names the source file and its line. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { bundlePrograms } from "../../scripts/bundle.ts";

const KLOG = new URL("./klog.ts", import.meta.url).pathname;

/** Each call's message is a marker that the test finds in this text: with what a bundler moves, joins and leaves out. */
const PROGRAM = `
import { Klog } from ${JSON.stringify(KLOG)};
import { other } from "./other.ts";

interface LeftOut {
  readonly nothing: string;
}

const logger = new Klog({ write: (line) => void process.stdout.write(line), verbosity: 1, pid: 1 });
function early(flag: boolean): void {
  logger.info("<1>");
  if (flag) return;
  logger.warn("<2>"); // joined with the calls before and after it by a comma
  logger.error("<3>"), logger.debug("<4>");
  logger.info(
    ["<5>"].join(),
  );
}
early(false);
other(logger);
[undefined].forEach(() => logger.info("<6>"));
`;
const OTHER = `
import type { Klog } from ${JSON.stringify(KLOG)};

export const other = (logger: Klog) => logger.fatal("<7>");
`;

const directory = mkdtempSync(join(tmpdir(), "klog-bundle-"));
before(async () => {
  writeFileSync(join(directory, "main.ts"), PROGRAM);
  writeFileSync(join(directory, "other.ts"), OTHER);
  const main = join(directory, "main.ts");
  await bundlePrograms(
    [
      { in: main, out: "plain" },
      { in: main, out: "command", hashbang: `#!${process.execPath}` },
    ],
    directory,
    "0.0.0",
  );
});
after(() => rmSync(directory, { recursive: true }));

/** The source of each marker, as the bundle logs it and as the texts have it. */
function sourcesOf(args: string[]): { logged: Record<string, string>; expected: Record<string, string> } {
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  assert.equal(stderr, "");
  const logged = Object.fromEntries(
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => /^\S+ \S+ +1 (\S+)\] (.+)$/.exec(line)!.slice(1).reverse() as [string, string]),
  );
  const expected: Record<string, string> = {};
  for (const file of ["main.ts", "other.ts"]) {
    for (const [index, line] of readFileSync(join(directory, file), "utf8").split("\n").entries()) {
      for (const [marker] of line.matchAll(/<\d>/g)) {
        expected[marker] = `${file}:${marker === "<5>" ? index : index + 1}`; // the call begins one line up
      }
    }
  }
  return { logged, expected };
}

for (const name of ["plain", "command"]) {
  test(`log lines of a bundle name their source (${name})`, () => {
    const { logged, expected } = sourcesOf([join(directory, `${name}.cjs`)]);
    assert.equal(Object.keys(expected).length, 7);
    assert.deepEqual(logged, expected);
  });
}

test("a bundle whose table is lost logs its own lines", () => {
  const bundle = readFileSync(join(directory, "plain.cjs"), "utf8");
  const path = join(directory, "without.cjs");
  writeFileSync(path, bundle.replace(/__sourceTable = "[^"]*"/, '__sourceTable = "nonsense"'));
  for (const source of Object.values(sourcesOf([path]).logged)) assert.match(source, /^without\.cjs:\d+$/);
});
