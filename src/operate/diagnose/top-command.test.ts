import assert from "node:assert/strict";
import { test } from "node:test";
import type { RouteReport, Status } from "../../status/api.ts";
import { drawFabric } from "./top-command.ts";

const STATUS: Status = {
  ...{ version: "v1", host: "h1", startedAt: "2026-01-01T00:00:00.000Z", isReady: true, notReadyReasons: [] },
  ...{ notes: [], datastore: "etcd key /x", networks: ["10.5.0.0/16"], backend: "vxlan", mtuBytes: 1450 },
  lease: { key: "10.5.1.0-24", subnets: ["10.5.1.0/24"], publicIps: ["192.168.7.1"], backend: "vxlan" },
  ...{ peers: 2, peerProblems: 0, kernel: { objects: 8, failures: 0, passes: 3, repairs: 0 } },
};
const routeTo = (number: number, rest: Partial<RouteReport> = {}): RouteReport => ({
  ...{
    subnet: `10.5.${number}.0/24`,
    peer: `10.5.${number}.0-24`,
    publicIp: `192.168.7.${number}`,
    backend: "vxlan",
  },
  ...{ via: `10.5.${number}.0`, device: "flannel.1", state: "programmed", ...rest },
});

test("the table fits 80 columns and the rows of the terminal, problems first", () => {
  const bad = routeTo(250, { state: "failed", reason: "a reason that is long. ".repeat(10) });
  const routes = [...Array.from({ length: 200 }, (_, index) => routeTo(index + 2)), bad];
  const size = () => ({ columns: 80, rows: 24 });
  const lines = drawFabric({ status: STATUS, routes }, { hasColours: false, size });
  assert.ok(lines.length < 24 && lines.every((line) => line.length <= 80), lines.join("\n"));
  assert.match(lines[3]!, /^10\.5\.250\.0\/24 +192\.168\.7\.250 +failed .*…$/);
  assert.equal(lines.at(-1), `and ${201 - (lines.length - 4)} more`);
  const coloured = drawFabric({ status: STATUS, routes }, { hasColours: true, size });
  assert.ok(coloured[3]!.startsWith("\u001b[31m10.5.250.0/24"));
  assert.ok(!lines.some((line) => line.includes("\u001b")));
});

test("control characters of a peer reach no terminal", () => {
  const routes = [routeTo(2, { state: "failed", reason: "\u001b[2J\u0007" })];
  const lines = drawFabric(
    { status: STATUS, routes },
    { hasColours: false, size: () => ({ columns: 200, rows: 24 }) },
  );
  assert.ok(lines.join("").includes("\\x1b[2J\\x07"));
});
