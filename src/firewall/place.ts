/** The places of a host that firewall rules can be in: nftables, and iptables by variant and family. */

import { formatPrefix } from "../address/prefix.ts";
import { hasCode } from "../base/error.ts";
import { type CurrentNetworks, describeIptablesDrop, type IptablesDrop } from "./findings.ts";
import { FirewallError, type FirewallExec, LOCK_WAIT_SECONDS, runTool } from "./firewall-exec.ts";
import { type FirewallPlan, planIptables } from "./iptables-plan.ts";
import { parseIptablesSave, unreadableTables } from "./iptables-save.ts";
import { CHAINS, type FirewallFamily, ROLES } from "./names.ts";
import { parseNftListing } from "./nft-listing.ts";
import { type NftScope, planNft } from "./nft-plan.ts";
import type { OwnNetworks } from "./ownership.ts";
import { type FirewallRules, NO_RULES, withoutRandomFully } from "./rules.ts";
import { findIptablesTunnelDrops } from "./tunnel-findings.ts";
import type { TunnelListener } from "./tunnel-packets.ts";

/** Whose rules a place is planned for. */
export interface PlaceNetworks {
  /** The networks whose rules are ours; undefined = all. */
  readonly own: OwnNetworks;
  /** This daemon's networks, whose drops are findings. */
  readonly current: CurrentNetworks;
  /** Where its tunnel receives packets, whose drops are findings, too. */
  readonly listeners: readonly TunnelListener[];
}

/** One place: a dump gives the plan, and the plan's script applies it. Each costs one process. */
export interface Place {
  /** For messages: "nftables", "ip6tables-legacy". */
  readonly name: string;
  /** `legacy`: the kernel's old tables, which nftables does not show. */
  readonly kind: "nftables" | "iptables-nft" | "legacy";
  plan(wanted: FirewallRules, networks: PlaceNetworks): Promise<FirewallPlan>;
  apply(script: string): Promise<void>;
}

/** Which of Debian's binaries to use: the one that the system's alternatives choose (""), or one by its name. */
export type IptablesSuffix = "" | "-nft" | "-legacy";

/** The backend and abilities of the installed iptables. */
export interface IptablesTraits {
  /** Before 1.8 always legacy. */
  readonly backend: "legacy" | "nf_tables";
  /** 1.6.2 has `--random-fully`, and `--wait` of iptables-restore. */
  readonly isAtLeast162: boolean;
}

/** Reads "iptables v1.8.9 (nf_tables)". A text of another form counts as an old version. */
export function parseIptablesVersion(text: string): IptablesTraits {
  const parts = /v(\d+)\.(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number) ?? [0, 0, 0];
  const [major = 0, minor = 0, patch = 0] = parts;
  return {
    backend: text.includes("nf_tables") ? "nf_tables" : "legacy",
    isAtLeast162: major * 1e6 + minor * 1e3 + patch >= 1_006_002,
  };
}

/** Reads the version of the installed iptables; ip6tables is of the same package. Throws FirewallError. */
export const iptablesTraits = async (exec: FirewallExec, suffix: IptablesSuffix): Promise<IptablesTraits> =>
  parseIptablesVersion(await runTool(exec, `iptables${suffix}`, ["--version"]));

/** One family of one variant. `isForNftables`: flanneld's rules are in nftables, so this place can only drop their packets. */
export function iptablesPlace(
  exec: FirewallExec,
  family: FirewallFamily,
  suffix: IptablesSuffix,
  traits: IptablesTraits,
  isForNftables = false,
): Place {
  const tool = `${family.iptables}${suffix}`;
  const wait = traits.isAtLeast162 ? ["--wait", String(LOCK_WAIT_SECONDS)] : [];
  const kind = traits.backend === "legacy" ? "legacy" : "iptables-nft";
  return {
    name: tool,
    kind,
    async plan(wanted, { own, current, listeners }) {
      const rules = wanted[family.key];
      const text = await runTool(exec, `${tool}-save`, []);
      const wantsNothing = ROLES.every((role) => rules[role].length === 0);
      for (const role of ROLES) {
        const { table } = CHAINS[role];
        if ((wantsNothing || rules[role].length > 0) && unreadableTables(text).includes(table)) {
          throw new FirewallError("FIREWALL_REFUSED", unreadableText(tool, table));
        }
      }
      const scope = { networks: own?.[family.key], network: current[family.key] };
      const seen = parseIptablesSave(text);
      const { script, changes, drops, walked } = planIptables(
        traits.isAtLeast162 ? rules : withoutRandomFully(rules),
        seen,
        scope,
      );
      const ofFamily = listeners.filter(({ address }) => (address.family === 6) === (family.key === "ipv6"));
      const tunnel = findIptablesTunnelDrops(tool, seen, ofFamily);
      const describe = isForNftables && kind === "legacy" ? legacyDropText : describeIptablesDrop;
      return {
        script,
        changes,
        findings: [...drops.map((drop) => describe(tool, drop)), ...tunnel.findings],
        watched: new Set(
          [...walked, ...tunnel.chains].map((chain) => `${family.nft} ${CHAINS.forward.table} ${chain}`),
        ),
      };
    },
    async apply(script) {
      await runTool(exec, `${tool}-restore`, ["--noflush", ...wait], script);
    },
  };
}

const unreadableText = (tool: string, table: string): string =>
  `${tool} cannot read the table “${table}”, because it contains rules that only nft understands; nothing was ` +
  `changed there. Move them to a table of their own (see “nft list ruleset”), or set "EnableNFTables": true in the network config`;

const legacyDropText = (tool: string, { where, network }: IptablesDrop): string =>
  `${tool} drops forwarded packets of the network ${formatPrefix(network)} (${where}), which nftables rules cannot overrule: ` +
  `containers of different hosts will not reach each other. Switch the host (and Docker) to iptables-nft, or set ` +
  `"EnableNFTables": false in the network config`;

/** The nftables of both families. */
export function nftPlace(exec: FirewallExec, scope: NftScope): Place {
  return {
    name: "nftables",
    kind: "nftables",
    async plan(wanted, networks) {
      // the whole ruleset in one process: nft 1.0.6 drops objects when one script lists several tables
      const listing = await runTool(exec, "nft", ["--terse", "--stateless", "--handle", "list", "ruleset"]);
      return planNft(wanted, parseNftListing(listing), scope, networks);
    },
    async apply(script) {
      await runTool(exec, "nft", ["-f", "-"], script);
    },
  };
}

/** What is stale in a place; nothing, if its tool is not installed. */
export async function inspectPlace(
  place: Place,
  networks: PlaceNetworks,
): Promise<{ plan: FirewallPlan; problem: string | undefined }> {
  try {
    return { plan: await place.plan(NO_RULES, networks), problem: undefined };
  } catch (error) {
    if (!(error instanceof FirewallError)) throw error;
    const problem = hasCode(error, "FIREWALL_TOOL_MISSING") ? undefined : error.message;
    return { plan: { script: "", changes: [], findings: [], watched: new Set() }, problem };
  }
}

/** An installed iptables. */
export interface InstalledVariant {
  readonly suffix: IptablesSuffix;
  readonly traits: IptablesTraits;
}

/**
 * Both variants by name, and the plain one where it is neither of them (systems from before the two).
 * One process for each name; none for the plain one if the other two are there.
 */
export async function installedVariants(exec: FirewallExec): Promise<readonly InstalledVariant[]> {
  const found: InstalledVariant[] = [];
  for (const suffix of ["-nft", "-legacy", ""] as const) {
    if (found.length === 2) break;
    try {
      const traits = await iptablesTraits(exec, suffix);
      if (!found.some((other) => other.traits.backend === traits.backend)) found.push({ suffix, traits });
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
    }
  }
  return found;
}
