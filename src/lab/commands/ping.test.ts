import assert from "node:assert/strict";
import { test } from "node:test";
import { formatPings, readPing } from "./ping.ts";

test("reads the summary of iputils' ping", () => {
  const output = `PING 10.5.2.2 (10.5.2.2) 56(84) bytes of data.

--- 10.5.2.2 ping statistics ---
3 packets transmitted, 2 received, 33.3333% packet loss, time 401ms
rtt min/avg/max/mdev = 0.041/0.057/0.081/0.016 ms
`;
  assert.deepEqual(readPing(output, 3), { rttMs: 0.057, lost: 1 });
});

test("a table with a row for each sender and a column for each receiver", () => {
  const way = (from: string, to: string, rttMs: number | undefined, lost = 0) => ({
    family: 4 as const,
    from,
    to,
    rttMs,
    lost,
  });
  const lines = formatPings([
    way("h1-c1", "h2-c1", 0.08),
    way("h2-c1", "h1-c1", undefined, 3),
    way("h1", "h1-c1", 0.011),
    way("h1", "h2-c1", 12.3, 1),
  ]);
  assert.deepEqual(lines, [
    "from \\ to  h1-c1  h2-c1",
    "h1-c1      -      0.08",
    "h2-c1      ✗      -",
    "h1         0.01   12.30 (1 lost)",
  ]);
});

test("two families are two tables", () => {
  const way = (family: 4 | 6, rttMs: number) => ({ family, from: "h1", to: "h1-c1", rttMs, lost: 0 });
  assert.deepEqual(formatPings([way(4, 0.1), way(6, 0.2)]), [
    "IPv4",
    "from \\ to  h1-c1",
    "h1         0.10",
    "",
    "IPv6",
    "from \\ to  h1-c1",
    "h1         0.20",
  ]);
});
