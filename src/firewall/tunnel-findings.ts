/**
 * Rules of the host that drop the tunnel's own packets (`ufw default deny incoming` without the port). flanneld adds no accept for
 * them: which ports a host opens is its operator's decision. They are reported with their text and the remedy.
 */

import { BASE_CHAIN, reasonOf } from "./findings.ts";
import type { SavedTables } from "./iptables-save.ts";
import { iptablesChains, readIptablesRule } from "./iptables-walk.ts";
import type { NftRuleset } from "./nft-listing.ts";
import { nftChains } from "./nft-walk.ts";
import { describeListener, type TunnelListener, tunnelPacket } from "./tunnel-packets.ts";
import { Walker } from "./walk.ts";

type Direction = "in" | "out";

/** Built-in chains that packets to this host, or from it, pass, by table of iptables; `nat` cannot drop. */
const IPTABLES_HOOKS: Readonly<Record<string, Readonly<Record<string, Direction>>>> = {
  raw: { PREROUTING: "in", OUTPUT: "out" },
  mangle: { PREROUTING: "in", INPUT: "in", OUTPUT: "out", POSTROUTING: "out" },
  filter: { INPUT: "in", OUTPUT: "out" },
  security: { INPUT: "in", OUTPUT: "out" },
};

/** Hooks of nftables that they pass (nft(8), ADDRESS FAMILIES). */
const NFT_HOOKS: Readonly<Record<string, Direction>> = {
  ingress: "in",
  prerouting: "in",
  input: "in",
  output: "out",
  postrouting: "out",
  egress: "out",
};

/** Findings, one line each. */
export interface TunnelDrops {
  readonly findings: readonly string[];
  /** Chains whose rules a finding depends on: iptables "INPUT" of the filter table, nftables "inet fw input". */
  readonly chains: ReadonlySet<string>;
}

/** @param listeners those of the tool's family */
export function findIptablesTunnelDrops(
  tool: string,
  seen: SavedTables,
  listeners: readonly TunnelListener[],
): TunnelDrops {
  const findings = new Set<string>();
  const visited = new Set<string>();
  for (const [table, hooks] of Object.entries(IPTABLES_HOOKS)) {
    const chains = seen.get(table);
    if (chains === undefined) continue;
    const read = iptablesChains(chains);
    for (const [hook, direction] of Object.entries(hooks)) {
      const chain = chains.get(hook);
      if (chain === undefined) continue;
      const rules = chain.rules.map(readIptablesRule);
      if (table === "filter") visited.add(hook);
      for (const listener of listeners) {
        const walker = new Walker(read, [tunnelPacket(listener, direction)]);
        const reason = reasonOf(walker.walk(rules), chain.policy === "DROP");
        if (table === "filter") for (const name of walker.visited) visited.add(name);
        if (reason === undefined) continue;
        const remedy = chain.rules.some((text) => / ufw-/.test(text)) ? "ufw" : "other";
        findings.add(
          describe(`${tool}: table ${table}, chain ${hook}`, { direction, reason, listener, remedy }),
        );
      }
    }
  }
  return { findings: [...findings], chains: visited };
}

/** @param isSkipped names the tables that are checked elsewhere */
export function findNftTunnelDrops(
  seen: NftRuleset,
  listeners: readonly TunnelListener[],
  isSkipped: (address: string) => boolean,
): TunnelDrops {
  const findings = new Set<string>();
  const visited = new Set<string>();
  for (const [address, table] of listeners.length === 0 ? [] : seen) {
    const [family = ""] = address.split(" ");
    if (isSkipped(address) || family === "bridge") continue;
    const read = nftChains(table);
    for (const [name, { base }] of table.chains) {
      const [, hook = "", device, priority = ""] = BASE_CHAIN.exec(base ?? "") ?? [];
      const direction = NFT_HOOKS[hook];
      if (direction === undefined) continue;
      visited.add(`${address} ${name}`);
      for (const listener of listeners) {
        if (device !== undefined && device !== listener.device) continue;
        if (family.startsWith("ip") && (family === "ip6") !== (listener.address.family === 6)) continue;
        const walker = new Walker(read, [tunnelPacket(listener, direction)]);
        const reason = reasonOf(walker.walk(read(name)!), / policy drop;$/.test(base ?? ""));
        for (const each of walker.visited) visited.add(`${address} ${each}`);
        if (reason === undefined) continue;
        const remedy = address.endsWith(" firewalld")
          ? "firewalld"
          : read(name)!.some(({ text }) => / ufw6?-/.test(text))
            ? "ufw"
            : "other";
        const where = `nftables: table ${address}, chain ${name} (hook ${hook}, priority ${priority})`;
        findings.add(describe(where, { direction, reason, listener, remedy }));
      }
    }
  }
  return { findings: [...findings], chains: visited };
}

interface Drop {
  readonly direction: Direction;
  /** "policy drop". */
  readonly reason: string;
  readonly listener: TunnelListener;
  readonly remedy: keyof typeof REMEDIES;
}

const REMEDIES = {
  ufw: ({ protocol, port }: TunnelListener, direction: Direction) =>
    protocol === "udp"
      ? `run "ufw allow ${direction} ${port}/udp"`
      : "accept the protocol in /etc/ufw/before.rules",
  firewalld: ({ protocol, port }: TunnelListener) =>
    `run "firewall-cmd --permanent ${protocol === "udp" ? `--add-port=${port}/udp` : "--add-protocol=ipip"}" and "firewall-cmd --reload"`,
  other: () => "accept them there",
} as const;

const describe = (where: string, { direction, reason, listener, remedy }: Drop): string =>
  `${where} drops the tunnel's packets ${direction === "in" ? "from" : "to"} other hosts, ${describeListener(listener)} ` +
  `(${reason}); ${REMEDIES[remedy](listener, direction)}`;
