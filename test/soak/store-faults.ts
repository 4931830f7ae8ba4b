/** Faults of the datastore: etcd killed, stopped, emptied, compacted, full, unreachable; leases deleted or overwritten. */

import { PREFIX } from "./bed.ts";
import { type Fault, NOTHING } from "./fault.ts";

/** Written under subnets/ by another program; no host of the bed is in these subnets or at these addresses. */
const INVALID_LEASES: Readonly<Record<string, string>> = {
  junk: "junk",
  "10.5.250.0-24": "not json",
  "999.5.1.0-24": "{}",
  "10.5.251.0-24": '{"PublicIP":"127.0.0.1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"zz"}}',
  "0.0.0.0-0": '{"PublicIP":"192.168.64.77","PublicIPv6":null,"BackendType":"host-gw"}',
  "192.168.64.0-24": '{"PublicIP":"192.168.64.78","PublicIPv6":null,"BackendType":"host-gw"}',
};

export const STORE_FAULTS: readonly Fault[] = [
  {
    name: "etcd SIGKILL, started",
    async inject({ bed }) {
      await bed.etcd.kill();
      return () => bed.etcd.start();
    },
    allowed: NOTHING,
  },
  {
    name: "etcd SIGSTOP, SIGCONT",
    async inject({ bed }) {
      bed.etcd.freeze();
      return async () => bed.etcd.thaw();
    },
    standsMs: 1_500,
    allowed: NOTHING,
  },
  {
    name: "etcd emptied",
    async inject({ bed }) {
      await bed.etcd.kill();
      bed.etcd.wipe();
      await bed.etcd.start();
      return () => bed.etcd.configure(bed.backend);
    },
    allowed: NOTHING,
  },
  {
    name: "etcd compacted and defragmented",
    async inject({ bed }) {
      await bed.etcd.compact();
      await bed.etcd.ctl(["defrag"]);
      return undefined;
    },
    allowed: NOTHING,
  },
  {
    name: "etcd compacted while its watches are cut",
    async inject({ bed, host }) {
      await host.run("ip", ["route", "add", "blackhole", `${bed.hub.address}/32`]);
      await bed.etcd.compact();
      return async () => void (await host.run("ip", ["route", "del", "blackhole", `${bed.hub.address}/32`]));
    },
    standsMs: 1_000,
    allowed: NOTHING,
  },
  {
    name: "etcd out of space",
    async inject({ bed }) {
      await bed.etcd.fill();
      return () => bed.etcd.drain();
    },
    allowed: NOTHING,
  },
  {
    name: "own lease deleted",
    async inject({ bed, host }) {
      await bed.etcd.ctl(["del", host.leaseKey]);
      return undefined;
    },
    allowed: NOTHING,
  },
  {
    name: "own lease revoked",
    async inject({ bed, host }) {
      await bed.etcd.revoke(host.leaseKey);
      return undefined;
    },
    allowed: NOTHING,
  },
  {
    name: "all leases deleted",
    isEverywhere: true,
    async inject({ bed }) {
      await bed.etcd.ctl(["del", "--prefix", `${PREFIX}/subnets/`]);
      return undefined;
    },
    allowed: NOTHING,
  },
  {
    name: "own lease deleted, flanneld SIGKILL",
    backends: ["vxlan", "host-gw"],
    async inject({ bed, host }) {
      host.daemon.signal("SIGKILL");
      await bed.etcd.ctl(["del", host.leaseKey]);
      return undefined;
    },
    // The peers wait a second for a host that is alive; a restart takes about as long.
    allowed: { withinMs: 6_000 },
  },
  {
    name: "own lease overwritten with junk",
    async inject({ bed, host }) {
      await bed.etcd.ctl(["put", host.leaseKey, "junk"]);
      return undefined;
    },
    allowed: NOTHING,
  },
  {
    name: "invalid leases",
    async inject({ bed }) {
      for (const [key, value] of Object.entries(INVALID_LEASES)) {
        await bed.etcd.ctl(["put", `${PREFIX}/subnets/${key}`, value]);
      }
      return async () => {
        for (const key of Object.keys(INVALID_LEASES))
          await bed.etcd.ctl(["del", `${PREFIX}/subnets/${key}`]);
      };
    },
    allowed: NOTHING,
  },
  {
    name: "lease with a peer's MAC and public IP",
    async inject({ bed, host }) {
      const value = await bed.etcd.ctl(["get", "--print-value-only", host.leaseKey]);
      const key = `${PREFIX}/subnets/10.5.252.0-24`;
      await bed.etcd.ctl(["put", key, value.trim()]);
      return async () => void (await bed.etcd.ctl(["del", key]));
    },
    allowed: NOTHING,
  },
  {
    name: "network config overwritten with junk, deleted, restored",
    async inject({ bed }) {
      await bed.etcd.ctl(["put", `${PREFIX}/config`, '{"Network":']);
      await bed.etcd.ctl(["del", `${PREFIX}/config`]);
      return () => bed.etcd.configure(bed.backend);
    },
    allowed: NOTHING,
  },
  {
    name: "etcd unreachable from the host",
    async inject({ bed, host }) {
      const rule = ["OUTPUT", "-p", "tcp", "-d", bed.hub.address, "--dport", "2379", "-j", "REJECT"];
      await host.run("iptables", ["-I", ...rule]);
      return async () => void (await host.run("iptables", ["-D", ...rule]));
    },
    standsMs: 1_000,
    allowed: NOTHING,
  },
];
