/**
 * deploy/monitoring with Debian's Prometheus: the rules by promtool, the dashboard against the metrics that exist, and a
 * Prometheus that scrapes three hosts and fires the alert when one is cut off.
 *
 *        h1 (Prometheus, etcd's relay) ── h2 ── h3        each: 0.0.0.0:7000, with a token
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { AgentStatus } from "../../src/agent/agent-status.ts";
import { DriftLedger } from "../../src/agent/drift.ts";
import { probeMetrics } from "../../src/agent/probe-metrics.ts";
import { Readiness } from "../../src/agent/readiness.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { Outages } from "../../src/status/outages.ts";
import { udpMetrics } from "../../src/status/udp-metrics.ts";
import { FakeTimers } from "../../src/testing/fake-timers.ts";
import { startEtcd } from "../support/etcd.ts";
import { askHealth, readyFlanneld } from "../support/flanneld.ts";
import { TestProcess } from "../support/process.ts";
import { makeHosts } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const MONITORING = fileURLToPath(new URL("../../deploy/monitoring", import.meta.url));
const read = (name: string): string => readFileSync(join(MONITORING, name), "utf8");
const promtool = (...args: string[]): string =>
  execFileSync("promtool", args, { cwd: MONITORING, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** The metrics of flanneld, with the names of a histogram's series. */
function metricNames(): ReadonlySet<string> {
  const timers = new FakeTimers();
  using drift = new DriftLedger({ logger: silentLogger, timers, wallClockMs: () => 0 });
  const status = new AgentStatus({
    ...{ version: "v1", revision: undefined, hostName: "h1", configPlace: "the test", drift },
    ...{ readiness: new Readiness(), outages: new Outages(timers), wallClockMs: () => 0 },
    ...{ udpCounters: () => ({}), wireguardTraffic: () => [] },
  });
  return new Set(
    [...status.metrics(), ...udpMetrics({}), ...probeMetrics({ sent: 0, verdicts: {}, worst: [] })].flatMap(
      ({ name, type }) =>
        type === "histogram" ? ["_bucket", "_sum", "_count"].map((suffix) => name + suffix) : [name],
    ),
  );
}

/** Names of metrics in PromQL: "up" is Prometheus' own. */
const namesIn = (promql: string): string[] => promql.match(/\b(?:flannel|process)_[a-z_]+/g) ?? [];

test("the alert rules are valid, each is tested, and fires and is silent as it should", () => {
  assert.match(promtool("check", "rules", "alerts.yaml"), /SUCCESS: \d+ rules found/);
  assert.match(promtool("test", "rules", "alerts.test.yaml"), /SUCCESS/);
  const alerts = [...read("alerts.yaml").matchAll(/- alert: (\w+)/g)].map(([, name]) => name!);
  assert.ok(alerts.length >= 10);
  const tests = read("alerts.test.yaml");
  for (const alert of alerts) assert.match(tests, new RegExp(`\\b${alert}\\b`));
});

test("rules and dashboard use metrics that exist, and the dashboard shows all of them", (t) => {
  const existing = metricNames();
  const dashboard = JSON.parse(read("dashboard.json")) as {
    readonly panels: readonly {
      readonly title: string;
      readonly targets: readonly { readonly expr: string }[];
    }[];
  };
  const shown = dashboard.panels.flatMap(({ targets }) => targets.flatMap(({ expr }) => namesIn(expr)));
  const alerting = read("alerts.yaml")
    .match(/expr: .*/g)!
    .flatMap(namesIn);
  for (const name of [...shown, ...alerting]) assert.ok(existing.has(name), `${name} does not exist`);
  for (const name of existing)
    if (name.startsWith("flannel_") && !/_(?:sum|count)$/.test(name))
      assert.ok(shown.includes(name), `${name} is not on the dashboard`);
  // As Grafana fills them in.
  const rules = dashboard.panels.flatMap(({ targets }) =>
    targets.map(({ expr }) => ({
      record: "panel",
      expr: expr.replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".*"),
    })),
  );
  const directory = mkdtempSync(join(tmpdir(), `flannel-dashboard-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "rules.yaml");
  writeFileSync(file, JSON.stringify({ groups: [{ name: "dashboard", rules }] })); // JSON is YAML
  // Exit code 1 for what is no PromQL.
  assert.match(promtool("check", "rules", "--lint=none", file), /SUCCESS/);
  assert.doesNotMatch(JSON.stringify(rules), /\$/);
});

test("Prometheus scrapes three hosts with their token, and fires the alert when one is cut off", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", "/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  const hosts = await makeHosts(t, etcd, 3);
  const [first, , third] = hosts;
  const token = "0123456789abcdef0123456789abcdef";
  const tokenFile = join(first!.directory, "token");
  writeFileSync(tokenFile, `${token}\n`, { mode: 0o600 });
  const args = ["--status-listen=0.0.0.0:7000", `--status-token-file=${tokenFile}`];
  const daemons = await Promise.all(hosts.map((host) => readyFlanneld(t, host, { args })));
  for (const { flanneld } of daemons) await flanneld.logged(/Status server on 0\.0\.0\.0 port 7000$/);
  assert.ok(!daemons.some(({ flanneld }) => flanneld.log().includes(token)));
  assert.equal((await askHealth(first!, 7000, "/metrics"))?.status, 401);

  const directory = join(first!.directory, "prometheus");
  mkdirSync(directory);
  // The rules as they are, except that nobody waits for minutes.
  writeFileSync(join(directory, "alerts.yaml"), read("alerts.yaml").replace(/\bfor: \d+m$/gm, "for: 1s"));
  const config = {
    global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
    rule_files: ["alerts.yaml"],
    scrape_configs: [
      {
        job_name: "flannel",
        authorization: { credentials_file: tokenFile },
        static_configs: [{ targets: hosts.map(({ address }) => `${address}:7000`) }],
      },
    ],
  };
  writeFileSync(join(directory, "prometheus.yml"), JSON.stringify(config)); // JSON is YAML
  promtool("check", "config", join(directory, "prometheus.yml"));
  await using prometheus = new TestProcess(
    "prometheus",
    [
      `--config.file=${join(directory, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(directory, "data")}`,
      "--web.listen-address=127.0.0.1:9090",
    ],
    { netns: first!.path },
  );
  const query = async (promql: string): Promise<Record<string, number>> => {
    const answer = await askHealth(
      first!,
      9090,
      `/api/v1/query?query=${encodeURIComponent(promql).replaceAll("%", "%%")}`,
    );
    if (answer?.status !== 200) return {};
    const { data } = JSON.parse(answer.body.replace(/^[0-9a-f]+\r\n|\r\n[0-9a-f]+\r\n$/g, "")) as {
      data: { result: { metric: { instance?: string; alertname?: string }; value: [number, string] }[] };
    };
    return Object.fromEntries(
      data.result.map(({ metric, value }) => [metric.instance ?? metric.alertname ?? "", Number(value[1])]),
    );
  };
  const firing = (alert = "FlannelDown") => query(`ALERTS{alertstate="firing",alertname="${alert}"}`);
  const waits = (condition: () => Promise<boolean>, what: string) =>
    until(condition, `${what}: ${prometheus.stderr.slice(-500)}`, 60_000);

  await waits(
    async () => Object.keys(await query("flannel_peers == 2")).length === 3,
    "three hosts with two peers",
  );
  assert.deepEqual(await firing(), {});
  assert.deepEqual(await query("count(flannel_build_info)"), { "": 3 });

  // A closed port: everything is scraped and ready, and only the probes see that packets are lost.
  const drop = ["INPUT", "-p", "udp", "--dport", "8472", "-j", "DROP"];
  third!.run("iptables", "-A", ...drop);
  await waits(
    async () => Object.keys(await firing("FlannelPeerUnreachable")).includes(`${first!.address}:7000`),
    "the alert for the closed port",
  );
  assert.deepEqual(await query("count(flannel_ready == 1)"), { "": 3 });
  assert.deepEqual(await firing(), {});
  third!.run("iptables", "-D", ...drop);
  await waits(
    async () => Object.keys(await firing("FlannelPeerUnreachable")).length === 0,
    "the end of the alert for the closed port",
  );

  third!.run("ip", "link", "set", "eth0", "down");
  await waits(async () => Object.keys(await firing()).length > 0, "the alert");
  assert.deepEqual(Object.keys(await firing()), [`${third!.address}:7000`]);
  third!.run("ip", "link", "set", "eth0", "up");
  await waits(async () => Object.keys(await firing()).length === 0, "the end of the alert");
});
