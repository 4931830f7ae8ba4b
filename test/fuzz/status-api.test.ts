/**
 * The status API under schemathesis, which reads the OpenAPI document of a real flanneld and sends what it allows and what it
 * forbids: no 5xx, no hang, no answer that the document does not describe. `make fuzz` installs it (tools/schemathesis).
 */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Status } from "../../src/status/api.ts";
import { askDaemon } from "../../src/status/status-client.ts";
import { startEtcd } from "../support/etcd.ts";
import { readyFlanneld } from "../support/flanneld.ts";
import { TestProcess } from "../support/process.ts";
import { makeHosts } from "../support/underlay.ts";

const SCHEMATHESIS = fileURLToPath(
  new URL("../../node_modules/.cache/schemathesis/bin/schemathesis", import.meta.url),
);
/** Per path, and valid and invalid input each. */
const EXAMPLES = process.env.FLANNEL_FUZZ_EXAMPLES ?? "100";
const CHECKS = [
  "not_a_server_error",
  "status_code_conformance",
  "content_type_conformance",
  "response_schema_conformance",
  "unsupported_method",
  "allow_header_conformance",
];
/** Names and values from elsewhere that are hostile to some reader. */
const HOSTILE =
  '{"PublicIP":"192.168.7.9","BackendType":"<script>alert(1)</script>\\"} 1\\nfake_total 7\\u202e"}';

test("schemathesis finds no 5xx, no hang and no undescribed answer", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", "/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  await etcd.ctl("put", "/coreos.com/network/subnets/10.5.77.0-24", HOSTILE);
  const [host] = await makeHosts(t, etcd, 1);
  const { flanneld } = await readyFlanneld(t, host!);
  await flanneld.logged(/Status server on 127\.0\.0\.1 port 7000$/);
  const seed = process.env.FLANNEL_FUZZ_SEED ?? String(Date.now() % 1e9);
  t.diagnostic(`seed ${seed}; repeat with make fuzz SEED=${seed}`);
  const before = openDescriptors(flanneld.pid);
  await using run = new TestProcess(
    "env",
    [
      // It writes what it finds below its directory.
      ...[`--chdir=${host!.directory}`, SCHEMATHESIS],
      ...["run", "http://127.0.0.1:7000/v1/openapi.json", "--url=http://127.0.0.1:7000"],
      // A stream that does not end; status-server.test.ts has it.
      ...[
        "--exclude-path=/v1/events",
        `--checks=${CHECKS.join()}`,
        "--mode=all",
        "--phases=examples,coverage,fuzzing",
      ],
      ...[`--max-examples=${EXAMPLES}`, `--seed=${seed}`, "--request-timeout=5", "--continue-on-failure"],
      ...["--generation-database=none", "--no-color", "--warnings=off"],
    ],
    { netns: host!.path, env: { HOME: host!.directory } },
  );
  assert.equal(await run.ended, 0, `${run.stdout}\n${run.stderr}`);
  assert.match(run.stdout, /[1-9]\d\d+ generated, \d+ passed/);
  t.diagnostic(/^.*(?:generated|passed).*$/m.exec(run.stdout)?.[0] ?? "");
  assert.equal((await askDaemon<Status>(`${host!.directory}/flanneld.sock`, "/v1/status")).isReady, true);
  assert.ok(openDescriptors(flanneld.pid) <= before + 8, "connections are closed");
});

const openDescriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
