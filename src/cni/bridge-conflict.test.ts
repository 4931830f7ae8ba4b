/** /proc/net captured on a host with cni0 10.244.1.1/24 without a port, eth0 and a second bridge (Linux 6.18). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { explainBridgeConflict } from "./bridge-conflict.ts";
import { CniError } from "./cni-error.ts";

const PROC: Readonly<Record<string, string>> = {
  "/proc/net/route": `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t01A8C0C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
cni0\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
br1\t00090A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
`,
  "/proc/net/fib_trie": `Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.244.1.0
        /24 link UNICAST
     |-- 10.244.1.1
        /32 host LOCAL
     |-- 10.244.1.255
        /32 link BROADCAST
     |-- 10.10.9.1
        /32 host LOCAL
`,
  "/proc/net/if_inet6": `fc000005000000710000000000000001 05 40 00 80     cni0
fe80000000000000b8d4c5fffe3d9e10 05 40 20 80     cni0
fc000005000000090000000000000001 06 40 00 80     br1
`,
};

const procOf = (proc: Readonly<Record<string, string>>) => ({
  readProcFile(path: string): string {
    const text = proc[path];
    if (text === undefined) throw new Error(`no ${path}`);
    return text;
  },
});

const explain = (message: string, proc = PROC): CniError => {
  const error = explainBridgeConflict(new CniError(999, message, "more"), { type: "bridge" }, procOf(proc));
  assert.ok(error instanceof CniError);
  return error;
};

test("F10 another subnet's address on the bridge: device, address, expected subnet, remedy", () => {
  const message = 'failed to set bridge addr: "cni0" already has an IP address different from 10.244.2.1/24';
  const { cniCode, message: text, details } = explain(message);
  assert.equal(cniCode, 999);
  assert.match(
    text,
    /^bridge "cni0" has 10\.244\.1\.1\/24, but this node's subnet is 10\.244\.2\.0\/24 \(expected address 10\.244\.2\.1\/24\)/,
  );
  assert.match(
    text,
    /Once no pod uses it any more \(ip link show master cni0 lists nothing\), delete it: ip link delete cni0; the next ADD creates it$/,
  );
  assert.equal(details, `${message}; more`);
});

test("F10 the same with IPv6, with a bridge of another name, and without /proc", () => {
  const of = (device: string, address: string, proc = PROC) =>
    explain(`"${device}" already has an IP address different from ${address}`, proc).message;
  assert.match(
    of("cni0", "fc00:5:0:72::1/64"),
    /has fc00:5:0:71::1\/64, but this node's subnet is fc00:5:0:72::\/64 /,
  );
  assert.match(of("br1", "10.244.2.1/24"), /^bridge "br1" has 10\.10\.9\.1\/24, .*ip link delete br1/);
  assert.match(of("cni0", "10.244.2.1/24", {}), /^bridge "cni0" has an address of another subnet, but/);
});

test("F10 a device of that name that is not a bridge", () => {
  const { message, details } = explain(
    'failed to create bridge "cni0": cni0 already exists but is not a bridge',
  );
  assert.match(
    message,
    /^device "cni0" exists but is not a bridge, .*ip link delete cni0.*"bridge" in the network config's delegate$/,
  );
  assert.match(details, /^failed to create bridge/);
});

test("F10 a bridge without a MAC address, which a failed ADD leaves", () => {
  const message = "failed to set bridge addr: could not set bridge's mac: invalid argument";
  assert.match(
    explain(message).message,
    /^bridge "cni0" has no MAC address, .*ip link delete cni0; the next ADD creates it$/,
  );
  const named = explainBridgeConflict(
    new CniError(999, message),
    { type: "bridge", bridge: "pods0" },
    procOf({}),
  ) as CniError;
  assert.match(named.message, /^bridge "pods0" .*ip link delete pods0/);
});

test("F10 all other errors stay as they are", () => {
  for (const error of [new CniError(11, "no IP addresses available"), new Error("x"), "x"]) {
    assert.equal(explainBridgeConflict(error, { type: "bridge" }, procOf({})), error);
  }
});
