import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "../base/error.ts";
import {
  BACKEND_TYPES,
  checkNetwork,
  createBackend,
  deviceNamesOf,
  FLANNEL_DEVICES,
  parseNetwork,
} from "./backends.ts";

const NETWORK = '"Network":"10.5.0.0/16"';
const DUAL = `${NETWORK},"EnableIPv6":true,"IPv6Network":"fc00::/48"`;
const backendOf = (backend: string, network = NETWORK) =>
  parseNetwork(`{${network},"Backend":${backend}}`).backend;

test("the network config becomes one value with the backend's defaults filled in", () => {
  assert.deepEqual(backendOf('{"Type":"VXLAN","vni":7,"Unknown":[1]}'), {
    type: "vxlan",
    vni: 7,
    port: 8472,
    gbp: false,
    learning: false,
    directRouting: false,
    disableTxChecksum: undefined,
    mtuBytes: 0,
  });
  assert.deepEqual(backendOf('{"Type":"host-gw"}'), { type: "host-gw" });
  assert.deepEqual(backendOf('{"Type":"udp"}'), { type: "udp", port: 8285, strictSource: true });
});

test("configs with the same meaning are equal in every spelling", () => {
  assert.deepEqual(
    parseNetwork(`{${NETWORK},"Backend":{"Type":"vxlan"}}`),
    parseNetwork('{"backend":{"VNI":1,"type":"Vxlan","Port":0,"MTU":null},"network":"10.5.0.1/16"}'),
  );
});

test("of several spellings of one member the last counts, as in Go", () => {
  const vniOf = (members: string) => {
    const backend = backendOf(`{"Type":"vxlan",${members}}`);
    return backend.type === "vxlan" ? backend.vni : assert.fail(backend.type);
  };
  assert.equal(vniOf('"VNI":1,"vni":2'), 2);
  assert.equal(vniOf('"vni":2,"VNI":1'), 1);
  assert.equal(vniOf('"vni":2,"VNI":null'), 2, "null changes nothing");
  assert.equal(backendOf('{"Type":"vxlan","type":"host-gw"}').type, "host-gw");
});

test("devices are named per family", () => {
  const namesOf = (network: string) =>
    deviceNamesOf(parseNetwork(`{${network},"Backend":{"Type":"vxlan","VNI":9}}`));
  assert.deepEqual(namesOf(NETWORK), ["flannel.9"]);
  assert.deepEqual(namesOf(DUAL), ["flannel.9", "flannel-v6.9"]);
  assert.deepEqual(namesOf('"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48"'), [
    "flannel-v6.9",
  ]);
});

test("every device that a backend creates is recognized by its name", () => {
  const kindsOf = (name: string) =>
    FLANNEL_DEVICES.filter((device) => device.name.test(name)).flatMap(({ kinds }) => kinds);
  for (const backend of ['{"VNI":16777215}', '{"Type":"udp"}', '{"Type":"host-gw"}']) {
    const network = parseNetwork(`{${backend.includes("VNI") ? DUAL : NETWORK},"Backend":${backend}}`);
    const context = { existing: [], randomBytes: (count: number) => new Uint8Array(count) };
    const { devices } = createBackend(network, context).ownership(network);
    assert.deepEqual([...devices], deviceNamesOf(network));
    for (const name of devices) {
      assert.deepEqual(kindsOf(name), [network.backend.type === "udp" ? "tun" : "vxlan"], name);
    }
  }
  assert.deepEqual(kindsOf("flannel-wg-v6"), ["wireguard", "tun"], "what Go flannel's makes");
  assert.deepEqual(kindsOf("flannel.ipip"), ["ipip"]);
  for (const name of ["flannel", "flannel.1.2", "xflannel.1", "cni0"])
    assert.deepEqual(kindsOf(name), [], name);
});

test("every backend type of Go flannel is supported, those that it has dropped included", () => {
  assert.deepEqual([...BACKEND_TYPES].sort(), [
    ...["ali-vpc", "alloc", "aws-vpc", "extension", "gce", "host-gw", "ipip", "ipsec", "tencent-vpc"],
    ...["udp", "vxlan", "wireguard"],
  ]);
});

test("faults of the networks and of the backend are reported together, and none gives a network", () => {
  const faultsOf = (json: string) => {
    const { network, config, faults } = checkNetwork(json);
    assert.deepEqual([network, config], [undefined, undefined]);
    assert.throws(() => parseNetwork(json), faults[0]);
    assert.ok(faults.every((fault) => fault instanceof ConfigError));
    return faults.map(({ message }) => message.replace("network config: ", ""));
  };
  assert.match(
    faultsOf('{"Network":"10.5.0.0","Backend":{"VNI":0}}').join("\n"),
    /^Network .*\nBackend\.VNI .*from 1/,
  );
  assert.match(
    faultsOf('{"Network":"10.5.0.0","EnableIPv6":true,"Backend":{"Type":"udp"}}').join("\n"),
    /^Network .*\nIPv6Network .*\nthe udp backend carries IPv4 only/,
  );
  assert.match(
    faultsOf(`{${NETWORK},"Backend":{"Type":"geneve"}}`).join(),
    /"geneve" is not known; use one of/,
  );
  assert.match(
    faultsOf('{"EnableIPv4":false,"Backend":{"Type":"udp"}}').join("\n"),
    /^EnableIPv4 is false and EnableIPv6 is not true[^\n]*$/,
  );
  assert.equal(faultsOf("{").length, 1);
  assert.equal(faultsOf(`{${NETWORK},"Backend":7}`).length, 1);
});
