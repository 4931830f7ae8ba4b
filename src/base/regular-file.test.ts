import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { readRegularFile } from "./regular-file.ts";

function makeDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), `regular-file-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test("F24 a regular file is read whole, through a link and up to the limit", (t) => {
  const directory = makeDirectory(t);
  const file = join(directory, "file");
  for (const text of ["", "FLANNEL_MTU=1450\n", "ü".repeat(5_000)]) {
    writeFileSync(file, text);
    assert.equal(readRegularFile(file, 10_000), text);
  }
  symlinkSync("file", join(directory, "link"));
  assert.equal(readRegularFile(join(directory, "link"), 10_000).length, 5_000);
  assert.throws(() => readRegularFile(file, 9_999), /EFBIG: larger than 9999 bytes/);
  assert.match(readRegularFile("/proc/self/stat", 10_000), /^\d+ /, "a file of procfs has size 0");
});

test("F24 a FIFO, a device, a directory and a huge file are refused at once", (t) => {
  const directory = makeDirectory(t);
  const path = join(directory, "fifo");
  execFileSync("mkfifo", [path]);
  assert.throws(() => readRegularFile(path, 100), /is a FIFO and not a regular file, .*fifo/);
  assert.throws(() => readRegularFile("/dev/zero", 100), /is a device and not a regular file/);
  assert.throws(() => readRegularFile(directory, 100), /EISDIR: is a directory/);
  writeFileSync(join(directory, "huge"), "");
  truncateSync(join(directory, "huge"), 2 ** 40);
  assert.throws(() => readRegularFile(join(directory, "huge"), 100), /EFBIG/);
  assert.throws(() => readRegularFile(join(directory, "none"), 100), /ENOENT/);
});
