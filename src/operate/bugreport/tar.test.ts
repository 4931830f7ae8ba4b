import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { writeTar } from "./tar.ts";

test("tar(1) reads the archive: names, sizes, modes, contents", () => {
  const files = [
    { path: "a/MANIFEST", content: Buffer.from("x".repeat(1_025)) },
    { path: "a/b/empty", content: Buffer.alloc(0) },
  ];
  const input = writeTar(files, Date.UTC(2026, 0, 1));
  const listed = execFileSync("tar", ["--utc", "-tvf", "-"], { input, encoding: "utf8" });
  assert.match(listed, /^-rw------- 0\/0 +1025 2026-01-01 00:00 a\/MANIFEST$/m);
  assert.match(listed, /^-rw------- 0\/0 +0 2026-01-01 00:00 a\/b\/empty$/m);
  assert.equal(
    execFileSync("tar", ["-xOf", "-", "a/MANIFEST"], { input, encoding: "utf8" }),
    "x".repeat(1_025),
  );
});
