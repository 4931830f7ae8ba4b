import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { keyOf, makeCluster, overlayDown } from "../../test/support/fake-cluster.ts";
import { until } from "../../test/support/until.ts";
import type { Row } from "./api.ts";
import { closeServer, listen } from "./bounded-server.ts";
import { fetchRow } from "./fetch-row.ts";
import { PeerRows, type RowRequests } from "./peer-rows.ts";

const cell = (host: number): Row["cells"][number] => ({
  ...{ peer: keyOf(host), family: "ipv4", verdict: "reachable", rttMs: 1, lossRatio: 0 },
});

/** Rows of a cluster of so many hosts, of which `fetch` answers for the host of this number. */
function make(hosts: number, fetch: (host: number, worst: number | undefined) => Row) {
  let nowMs = 1_000_000;
  const asked: number[] = [];
  const cluster = makeCluster(hosts);
  const hostAt = (address: string) =>
    [...cluster.byKey.values()].findIndex(({ publicIps }) => publicIps[0] === address) + 2;
  const requests: RowRequests = {
    port: 7000,
    fetch: async (address, port, worst) => {
      assert.equal(port, 7000);
      asked.push(hostAt(address));
      return fetch(hostAt(address), worst);
    },
    nowMs: () => nowMs,
  };
  const rows = new PeerRows(cluster, requests);
  const list = () => [...rows.rows()!];
  /** Until the requests of a round are answered. */
  const round = async (expected: number) => {
    asked.length = 0;
    list();
    await until(() => asked.length === expected, `${expected} requests`);
    await new Promise((resolve) => setImmediate(resolve));
    return list();
  };
  return { cluster, rows, list, round, asked, pass: (ms: number) => (nowMs += ms) };
}

test("rows of other hosts are requested while somebody asks, not more often than every 10 seconds", async () => {
  const { list, round, asked, pass } = make(4, (host) => ({
    ...{ key: keyOf(host), host: `h${host}`, isProbing: true, cells: [cell(1)] },
  }));
  const before = list();
  assert.deepEqual(
    before.map(({ key, reason }) => [key, reason]),
    [[keyOf(1), undefined], ...[2, 3, 4].map((host) => [keyOf(host), "not received yet"])],
  );
  const after = await round(0);
  assert.deepEqual(
    after.map(({ host, cells }) => [host, cells.length]),
    [
      ["node-1", 3],
      ["h2", 1],
      ["h3", 1],
      ["h4", 1],
    ],
  );
  list();
  assert.deepEqual(asked, []);
  pass(10_000);
  await round(3);
});

test("a row of another host, of no host, of unknown peers and of itself is not shown", async () => {
  const { round } = make(4, (host) => {
    if (host === 3) throw new Error("no answer within 1 s");
    const key = host === 2 ? keyOf(9) : keyOf(host);
    return { key, host: "h", isProbing: true, cells: [cell(1), cell(9), cell(host)] };
  });
  const [, second, third, fourth] = await round(3);
  assert.deepEqual([second!.cells, second!.reason], [[], "at 192.168.0.3 another host answers"]);
  assert.deepEqual(third!.reason, "no row from 192.168.0.4 port 7000: no answer within 1 s");
  assert.deepEqual(fourth!.cells, [cell(1)]);
});

test("a row stays for a minute when its host no longer answers", async () => {
  let isUp = true;
  const { round, pass, list } = make(2, (host) => {
    if (!isUp) throw new Error("gone");
    return { key: keyOf(host), host: "h", isProbing: true, cells: [cell(1)] };
  });
  await round(1);
  isUp = false;
  pass(10_000);
  const [, stale] = await round(1);
  assert.deepEqual([stale!.cells.length, stale!.reason], [1, "no row from 192.168.0.3 port 7000: gone"]);
  pass(51_000);
  assert.deepEqual(list()[1]!.cells, []);
});

test("above 100 peers, 100 hosts are asked for their worst cells: those that look worst from here, and the others in turn", async () => {
  const { cluster, round, asked, pass } = make(501, (host, worst) => {
    assert.equal(worst, 20);
    return { key: keyOf(host), host: `h${host}`, isProbing: true, cells: [cell(1)] };
  });
  cluster.byKey.set(keyOf(400), { ...cluster.byKey.get(keyOf(400))!, probes: [overlayDown()] });
  const seen = new Set<number>();
  for (let turn = 0; turn < 12; turn++) {
    const rows = await round(100);
    assert.ok(asked.includes(400));
    assert.ok(rows.length <= 301, `${rows.length} rows`);
    for (const host of asked) seen.add(host);
    pass(10_000);
  }
  assert.equal(seen.size, 500);
});

test("without requests each row says why it is unknown", () => {
  const rows = new PeerRows(makeCluster(3), "because");
  assert.deepEqual(
    [...rows.rows()!].map(({ reason }) => reason),
    [undefined, "because", "because"],
  );
});

test("the worst cells come first", () => {
  const cluster = makeCluster(30);
  cluster.byKey.set(keyOf(17), { ...cluster.byKey.get(keyOf(17))!, probes: [overlayDown()] });
  const { cells } = new PeerRows(cluster, "").own(3)!;
  assert.equal(cells.length, 3);
  assert.equal(cells[0]!.peer, keyOf(17));
  assert.ok(cells[1]!.rttMs! >= cells[2]!.rttMs!);
});

/** Answers of a hostile status server, by what is wrong with them. */
const HOSTILE: Readonly<Record<string, string | undefined>> = {
  "it answers with HTTP status 302": "redirect",
  "its answer is longer than 65536 bytes": `"${"x".repeat(70_000)}"`,
  "no answer within 1 s": undefined,
  "its answer is malformed, or of another version": JSON.stringify({
    host: "h",
    isProbing: true,
    cells: [{}],
  }),
};

test("a hostile answer is refused with the reason, and bounded in size and time", async () => {
  for (const [reason, body] of Object.entries(HOSTILE)) {
    const server = createServer((_, response) => {
      if (body === "redirect") response.writeHead(302, { Location: "http://192.0.2.1/" });
      if (body === undefined)
        response.write("{"); // and no end
      else response.end(body);
    });
    await listen(server, { host: "127.0.0.1", port: 0 });
    const { port } = server.address() as AddressInfo;
    await assert.rejects(fetchRow("127.0.0.1", port, undefined), { message: reason });
    await closeServer(server);
  }
});
