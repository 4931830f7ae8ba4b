import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { takeEnvironment } from "./take-environment.ts";

test("programs that the process starts do not inherit the secrets, which the copy keeps", () => {
  const secrets = { ACCESS_KEY_SECRET: "s1", AWS_SECRET_ACCESS_KEY: "s2", AWS_SESSION_TOKEN: "s3" };
  Object.assign(process.env, secrets, { ACCESS_KEY_ID: "id" });
  const copy = takeEnvironment(process.env);
  const inherited = execFileSync("env", { encoding: "utf8" });
  assert.match(inherited, /^ACCESS_KEY_ID=id$/m);
  assert.doesNotMatch(inherited, /ACCESS_KEY_SECRET|AWS_SECRET|AWS_SESSION/);
  assert.deepEqual({ ...copy, ...secrets }, copy);
});
