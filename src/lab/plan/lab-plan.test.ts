import assert from "node:assert/strict";
import { test } from "node:test";
import { BACKEND_TYPES } from "../../backend/backends.ts";
import { ConfigError } from "../../base/error.ts";
import { parseFlags } from "../../config/flags.ts";
import { isCloud, notesOn, planLab } from "./lab-plan.ts";
import { UP_FLAGS } from "./up-flags.ts";

/** The plan for a command line as a user types it; `file` = what --config names. */
function planOf(line: string, file = "{}") {
  const args = line.split(" ").filter((word) => word !== "");
  const parsed = parseFlags(UP_FLAGS, { args });
  assert.equal(parsed.type, "ok", line);
  return planLab(parsed.flags, () => file);
}

const refuses = (line: string, message: RegExp, file?: string): void =>
  assert.throws(
    () => planOf(line, file),
    (error) => error instanceof ConfigError && message.test(error.message),
    line,
  );

const NETWORK = { Network: "10.5.0.0/16" };
const IPV6_NETWORK = { EnableIPv6: true, IPv6Network: "fd00:5::/48" };

test("the flags become a network config", () => {
  const configs: [string, object][] = [
    ["", { ...NETWORK, Backend: { Type: "vxlan" } }],
    ["--network 10.9.0.0/17", { Network: "10.9.0.0/17", Backend: { Type: "vxlan" } }],
    ["--backend host-gw", { ...NETWORK, Backend: { Type: "host-gw" } }],
    ["--dual-stack", { ...NETWORK, ...IPV6_NETWORK, Backend: { Type: "vxlan" } }],
    ["--ipv6-only", { EnableIPv4: false, ...IPV6_NETWORK, Backend: { Type: "vxlan" } }],
    [
      "--ipv6-only --ipv6-network=fd07::/56",
      { EnableIPv4: false, EnableIPv6: true, IPv6Network: "fd07::/56", Backend: { Type: "vxlan" } },
    ],
    ["--nftables", { ...NETWORK, EnableNFTables: true, Backend: { Type: "vxlan" } }],
    ["--direct-routing", { ...NETWORK, Backend: { Type: "vxlan", DirectRouting: true } }],
  ];
  for (const [line, config] of configs) assert.deepEqual(JSON.parse(planOf(line).networkConfig), config);
});

test("ipsec gets a key of its own, extension commands", () => {
  const backendOf = (line: string) => JSON.parse(planOf(line).networkConfig).Backend;
  assert.match(backendOf("--backend ipsec").PSK, /^[0-9a-f]{96}$/);
  assert.notEqual(backendOf("--backend ipsec").PSK, backendOf("--backend ipsec").PSK);
  assert.match(
    backendOf("--backend extension").SubnetAddCommand,
    /ip route replace \$SUBNET via \$PUBLIC_IP/,
  );
});

test("a cloud whose API the lab lacks is refused before anything is made; aws-vpc is not", () => {
  for (const backend of ["gce", "ali-vpc", "tencent-vpc"])
    refuses(`--backend ${backend}`, new RegExp(`no API of the cloud that ${backend} needs: .*aws-vpc`));
  assert.equal(isCloud(planOf("--backend aws-vpc").network.backend.type), true);
  assert.equal(isCloud(planOf("").network.backend.type), false);
});

test("every combination of backend, families, firewall and segments has hosts with the network's families", () => {
  for (const backend of ["vxlan", "host-gw"]) {
    for (const families of ["", "--dual-stack", "--ipv6-only"]) {
      for (const nftables of ["", "--nftables"]) {
        for (const subnets of [1, 2, 3]) {
          for (const direct of backend === "vxlan" ? ["", "--direct-routing"] : [""]) {
            const line = `--backend=${backend} ${families} ${nftables} --subnets=${subnets} ${direct}`;
            const { network, topology } = planOf(line);
            const notes = notesOn(backend, topology);
            const wanted = { "": [4], "--dual-stack": [4, 6], "--ipv6-only": [6] }[families];
            for (const { addresses } of topology.hosts) {
              assert.deepEqual(
                addresses.map(({ family }) => family),
                wanted,
                line,
              );
            }
            assert.equal(topology.segments.length, subnets);
            assert.deepEqual(
              [network.ipv4 !== undefined, network.ipv6 !== undefined],
              [4, 6].map((family) => wanted!.includes(family)),
            );
            assert.equal(network.enableNftables, nftables !== "");
            assert.equal(notes.length, backend === "host-gw" && subnets > 1 ? 1 : 0, line);
          }
        }
      }
    }
  }
});

test("host-gw over several subnets: said which hosts do not reach each other", () => {
  const { topology } = planOf("--backend host-gw --subnets 2 --hosts 5");
  const notes = notesOn("host-gw", topology);
  assert.match(
    notes[0]!,
    /only hosts on the same link: .* \(h1, h3, h5 \| h2, h4\) .*use --backend vxlan --direct-routing/,
  );
});

test("the underlay is what the flags say, as far as the network has the family", () => {
  const { topology } = planOf("--dual-stack --underlay 172.20.0.0/16 --underlay-ipv6 fd99::/64");
  assert.deepEqual(topology.segments[0]!.networks, ["172.20.0.0/16", "fd99::/64"]);
});

test("a file is taken as it is; its families are the hosts'", () => {
  const file = `{"network": "10.7.0.0/16", "enableipv6": true, "ipv6network": "fc00::/48", "backend": {"type": "HOST-GW"}}`;
  const { networkConfig, network, topology } = planOf("--config f --subnets 2", file);
  assert.equal(networkConfig, file);
  assert.deepEqual(topology.segments[0]!.networks, ["192.168.64.0/24", "fd00:64::/64"]);
  assert.equal(network.backend.type, "host-gw");
});

test("the datastore: the embedded store, etcd or Kubernetes, where containers are pods", () => {
  for (const [line, datastore] of [
    ["", "store"],
    ["--etcd", "etcd"],
    ["--kube", "kube"],
  ]) {
    const plan = planOf(line!);
    assert.equal(plan.datastore, datastore);
    assert.equal(plan.topology.cni, datastore === "kube");
  }
});

test("refuses what contradicts itself, and says what to do", () => {
  refuses("--kube --etcd", /--kube and --etcd exclude each other/);
  refuses("--dual-stack --ipv6-only", /--dual-stack and --ipv6-only exclude each other/);
  refuses("--ipv6-only --network 10.5.0.0/16", /--network is for IPv4.*give --ipv6-network/);
  refuses("--ipv6-network fd00:5::/48", /--ipv6-network has no effect .* give --dual-stack or --ipv6-only/);
  refuses(
    "--backend vxlam",
    new RegExp(`Backend\\.Type "vxlam" is not known; use one of: ${BACKEND_TYPES.join(", ")}$`),
  );
  refuses("--backend udp --dual-stack", /the udp backend carries IPv4 only/);
  refuses("--backend host-gw --direct-routing", /--direct-routing .* the backend is host-gw: leave it out/);
  refuses("--ipv6-only --underlay 10.1.0.0/24", /--underlay has no effect: the network config has no IPv4/);
  refuses("--underlay-ipv6 fd00::/64", /--underlay-ipv6 has no effect: the network config has no IPv6/);
  refuses("--subnets 4", /--subnets: must be within 1…3/);
  refuses("--network 10.5.0.0", /--network: "10\.5\.0\.0" is not an IPv4 network like/);
  refuses("--network fd00::/48", /--network: .* is not an IPv4 network/);
  refuses("--dual-stack --ipv6-network 10.5.0.0/16", /--ipv6-network: .* is not an IPv6 network/);
  refuses("--underlay fd00::/64", /--underlay: .* is not an IPv4 network/);
  refuses("--config f", /not valid JSON/, "{");
  for (const flag of [
    ...["--backend=vxlan", "--direct-routing", "--network=10.5.0.0/16", "--dual-stack"],
    ...["--ipv6-only", "--ipv6-network=fd00:5::/48", "--nftables"],
  ]) {
    const name = flag.replace(/=.*/, "");
    refuses(
      `--config my.json ${flag}`,
      new RegExp(`${name} and --config exclude each other: write it into my.json`),
      "{}",
    );
  }
});

test("refuses networks that overlap the hosts' own, of every segment and family", () => {
  refuses("--network 192.168.0.0/16", /overlap: choose another one with --underlay,/);
  refuses("--network 192.168.65.0/24 --subnets 2", /192\.168\.65\.0\/24 and .* overlap/);
  refuses("--dual-stack --ipv6-network fd00::/16", /overlap: choose another one with --underlay-ipv6,/);
  assert.ok(planOf("--network 192.168.65.0/24"));
});
