import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { requireProgram } from "./requirements.ts";

test("a program is an executable file: no directory, and nothing that is missing", () => {
  requireProgram(process.execPath, "--flanneld");
  for (const path of [tmpdir(), import.meta.filename, `${tmpdir()}/missing-${process.pid}`])
    assert.throws(
      () => requireProgram(path, "--flanneld"),
      /^ConfigError.*--flanneld: .* is not an executable file$/,
    );
});
