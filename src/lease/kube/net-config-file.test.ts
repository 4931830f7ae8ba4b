import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { hasCode } from "../../base/error.ts";
import { systemTimers } from "../../base/timers.ts";
import { readConfigFile, watchConfigFile } from "./net-config-file.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `flannel-net-conf-${process.pid}-`));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** As the kubelet does it. */
function publish(number: number, text: string): void {
  const data = join(directory, `..2026_${number}`);
  mkdirSync(data);
  writeFileSync(join(data, "net-conf.json"), text);
  symlinkSync(`..2026_${number}`, join(directory, "..data_tmp"));
  renameSync(join(directory, "..data_tmp"), join(directory, "..data"));
}

function follow(path: string, pollMs: number) {
  const abort = new AbortController();
  const contents = watchConfigFile(path, pollMs, systemTimers, abort.signal);
  return {
    next: async () => (await contents.next()).value,
    async [Symbol.asyncDispose]() {
      abort.abort();
      assert.equal((await contents.next()).done, true);
    },
  };
}

test("W17 a ConfigMap's volume: a swapped link is noticed immediately", {
  timeout: 10_000,
}, async () => {
  const path = join(directory, "net-conf.json");
  publish(1, "one");
  symlinkSync("..data/net-conf.json", path);
  await using watch = follow(path, 3_600_000);
  assert.equal(await watch.next(), "one");
  for (const [number, text] of ["two", "three"].entries()) {
    const next = watch.next();
    publish(number + 2, text);
    assert.equal(await next, text);
  }
  const removed = watch.next();
  rmSync(path);
  assert.equal(await removed, undefined);
});

test("the same content is no change", { timeout: 10_000 }, async () => {
  const path = join(directory, "net-conf.json");
  writeFileSync(path, "one");
  await using watch = follow(path, 20);
  assert.equal(await watch.next(), "one");
  const next = watch.next();
  writeFileSync(path, "one");
  writeFileSync(path, "two");
  assert.equal(await next, "two");
});

test("a missing directory is polled for", { timeout: 10_000 }, async () => {
  const path = join(directory, "later", "net-conf.json");
  await using watch = follow(path, 20);
  assert.equal(await watch.next(), undefined);
  const next = watch.next();
  mkdirSync(join(directory, "later"));
  writeFileSync(path, "one");
  assert.equal(await next, "one");
});

test("an unreadable file is reported with the remedy", async () => {
  const path = join(directory, "net-conf.json");
  await assert.rejects(readConfigFile(path), (error) => {
    assert.match(
      String(error),
      /no network config at .*net-conf\.json \(--net-config-path\): mount the ConfigMap kube-flannel-cfg/,
    );
    return hasCode(error, "NOT_FOUND");
  });
  await assert.rejects(readConfigFile(directory), (error) => {
    assert.match(String(error), /failed to read the network config .*: EISDIR/);
    return hasCode(error, "UNAVAILABLE");
  });
  writeFileSync(path, "x".repeat((1 << 20) + 1));
  await assert.rejects(
    readConfigFile(path),
    (error) => hasCode(error, "INVALID") && /longer than 1 MiB/.test(String(error)),
  );
});
