/** The places of a host where firewall rules can live: nftables, and iptables by variant and family. */

import { FirewallError, type FirewallExec, LOCK_WAIT_SECONDS, runTool } from "./firewall-exec.ts";
import { type FirewallPlan, planIptables } from "./iptables-plan.ts";
import { parseIptablesSave, unreadableTables } from "./iptables-save.ts";
import { CHAINS, type FirewallFamily, ROLES } from "./names.ts";
import { parseNftListing } from "./nft-listing.ts";
import { type NftScope, planNft } from "./nft-plan.ts";
import { type FirewallRules, withoutRandomFully } from "./rules.ts";

/** One place: a read gives the plan, and the plan's script brings it about. Each costs one process. */
export interface Place {
  /** For messages: "nftables", "ip6tables-legacy". */
  readonly name: string;
  /** The kernel's old tables, which nftables does not see. */
  readonly isLegacy: boolean;
  plan(wanted: FirewallRules): Promise<FirewallPlan>;
  apply(script: string): Promise<void>;
}

/** Which of Debian's binaries to use: the one that the system's alternatives choose (""), or one by name. */
export type IptablesSuffix = "" | "-nft" | "-legacy";

/** What the installed iptables is and can do. */
export interface IptablesTraits {
  /** Before 1.8 there was nothing but legacy. */
  readonly backend: "legacy" | "nf_tables";
  /** 1.6.2 brought `--random-fully`, and `--wait` to iptables-restore. */
  readonly isAtLeast162: boolean;
}

/** Reads "iptables v1.8.9 (nf_tables)". A text of another form is taken for an old one. */
export function parseIptablesVersion(text: string): IptablesTraits {
  const parts = /v(\d+)\.(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number) ?? [0, 0, 0];
  const [major = 0, minor = 0, patch = 0] = parts;
  return {
    backend: text.includes("nf_tables") ? "nf_tables" : "legacy",
    isAtLeast162: major * 1e6 + minor * 1e3 + patch >= 1_006_002,
  };
}

/** Asks the installed iptables once; both families are of one package. */
export const iptablesTraits = async (exec: FirewallExec, suffix: IptablesSuffix): Promise<IptablesTraits> =>
  parseIptablesVersion(await runTool(exec, `iptables${suffix}`, ["--version"]));

export function iptablesPlace(
  exec: FirewallExec,
  family: FirewallFamily,
  suffix: IptablesSuffix,
  traits: IptablesTraits,
): Place {
  const tool = `${family.iptables}${suffix}`;
  const wait = traits.isAtLeast162 ? ["--wait", String(LOCK_WAIT_SECONDS)] : [];
  return {
    name: tool,
    isLegacy: traits.backend === "legacy",
    async plan(wanted) {
      const rules = wanted[family.key];
      const text = await runTool(exec, `${tool}-save`, []);
      const wantsNothing = ROLES.every((role) => rules[role].length === 0);
      for (const role of ROLES) {
        const { table } = CHAINS[role];
        if ((wantsNothing || rules[role].length > 0) && unreadableTables(text).includes(table)) {
          throw new FirewallError("FIREWALL_REFUSED", unreadableText(tool, table));
        }
      }
      const seen = parseIptablesSave(text);
      return planIptables(traits.isAtLeast162 ? rules : withoutRandomFully(rules), seen);
    },
    async apply(script) {
      await runTool(exec, `${tool}-restore`, ["--noflush", ...wait], script);
    },
  };
}

const unreadableText = (tool: string, table: string): string =>
  `${tool} cannot read the table “${table}”, because somebody wrote rules into it that only nft understands; nothing was ` +
  `changed there. Move them to a table of their own (see “nft list ruleset”), or set "EnableNFTables": true in the network config`;

export function nftPlace(exec: FirewallExec, scope: NftScope): Place {
  return {
    name: "nftables",
    isLegacy: false,
    async plan(wanted) {
      // the whole ruleset in one process: nft 1.0.6 forgets objects when one script lists several
      const listing = await runTool(exec, "nft", ["--terse", "--stateless", "--handle", "list", "ruleset"]);
      return planNft(wanted, parseNftListing(listing), scope);
    },
    async apply(script) {
      await runTool(exec, "nft", ["-f", "-"], script);
    },
  };
}
