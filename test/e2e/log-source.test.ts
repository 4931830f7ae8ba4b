/** Log lines of the built flanneld name a source file, and a line in it that logs. */

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { freshNetns } from "../netns/support.ts";
import { TestProcess } from "../support/process.ts";
import { FLANNELD } from "../support/programs.ts";
import { until } from "../support/until.ts";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const HEADER = /^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ ([\w-]+\.ts):(\d+)\] /;

test("each log line of the bundle names a line of the sources that logs", async (t) => {
  const args = ["--etcd-endpoints=http://127.0.0.1:1", "-v=9"];
  await using flanneld = new TestProcess(FLANNELD, args, { netns: freshNetns(t).path });
  await until(() => /connection refused/.test(flanneld.stderr), "the error about etcd");
  await flanneld.stop();
  const lines = flanneld.stderr.trimEnd().split("\n");
  assert.ok(lines.length >= 3, flanneld.stderr);
  for (const line of lines) {
    const [, file, number] = HEADER.exec(line) ?? assert.fail(`not in klog's form: ${line}`);
    const texts = globSync(`src/**/${file}`, { cwd: ROOT }).map((path) =>
      readFileSync(join(ROOT, path), "utf8"),
    );
    const named = texts.map((text) => text.split("\n")[Number(number) - 1] ?? "");
    assert.ok(
      named.some((code) => /\b(info|warn|error|fatal|debug|level)\b/.test(code)),
      `${line}\nnames ${JSON.stringify(named)}`,
    );
  }
});
