/** The launchers in bin/, where they are not at home: copied, linked, on a system that Node.js does not run on. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const BIN = fileURLToPath(new URL("../../bin", import.meta.url));
const place = mkdtempSync(join(tmpdir(), `flannel-launchers-${process.pid}-`));
after(() => rmSync(place, { recursive: true, force: true }));

/** The lines that a launcher prints for a call for help, and its exit code. */
function helpOf(
  launcher: string,
  path = process.env.PATH!,
): { readonly status: number | null; readonly lines: string[] } {
  const { status, stdout, stderr } = spawnSync(launcher, ["--help"], {
    encoding: "utf8",
    env: { ...process.env, PATH: path },
    timeout: 30_000,
  });
  return { status, lines: (stdout + stderr).trimEnd().split("\n") };
}

/** A PATH whose first directory has a program that prints this. */
function pathWith(program: string, text: string): string {
  const directory = mkdtempSync(join(place, "path-"));
  writeFileSync(join(directory, program), `#!/bin/sh\necho '${text}'\n`);
  chmodSync(join(directory, program), 0o755);
  return `${directory}:${process.env.PATH}`;
}

for (const name of ["flanneld", "flannelctl"]) {
  test(`${name} runs through a chain of symbolic links`, () => {
    mkdirSync(join(place, `${name}-links`));
    symlinkSync(join(BIN, name), join(place, `${name}-links/first`));
    symlinkSync("first", join(place, `${name}-links/second`));
    const { status, lines } = helpOf(join(place, `${name}-links/second`));
    assert.equal(status, 0, lines.join("\n"));
  });

  test(`a copy of ${name} alone says in one line what it needs`, () => {
    copyFileSync(join(BIN, name), join(place, name));
    const { status, lines } = helpOf(join(place, name));
    assert.equal(status, 1);
    assert.deepEqual(lines, [
      `${name}: ${place}/launch.sh is missing: a copy of the launcher does not run; make a symbolic link to bin/${name}, or install the package`,
    ]);
  });

  for (const glibc of ["2.17", "2.27", "2.5"]) {
    test(`${name} says in one line that glibc ${glibc} is too old`, () => {
      const { status, lines } = helpOf(join(BIN, name), pathWith("getconf", `glibc ${glibc}`));
      assert.equal(status, 1);
      assert.equal(lines.length, 1);
      assert.match(
        lines[0]!,
        new RegExp(`^${name}: needs glibc 2\\.28 or later \\(.*\\); this system has ${glibc}: `),
      );
    });
  }

  test(`${name} runs with the oldest supported glibc, and where getconf says nothing`, () => {
    for (const said of ["glibc 2.28", "glibc 2.100", ""])
      assert.equal(helpOf(join(BIN, name), pathWith("getconf", said)).status, 0, said);
  });
}
