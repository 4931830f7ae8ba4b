/**
 * flanneld's part of a table that iptables-nft uses (`filter`, `nat`), written through nft: the accepts that stand where the
 * shared FORWARD chain drops, and the removal of what iptables mode left.
 */

import type { Prefix } from "../address/prefix.ts";
import { acceptsAt, type HookEntry, ownEntries, placeJump } from "./jump.ts";
import { type ChainNames, DOCKER_FORWARD, type FirewallFamily, isOwnName } from "./names.ts";
import { networkPackets } from "./network-packets.ts";
import { dropsByPolicy, type NftRule, type NftTable, parseNftRule } from "./nft-listing.ts";
import { renderNftRule } from "./nft-render.ts";
import { nftChains, readNftRule } from "./nft-walk.ts";
import {
  type ChainOwners,
  chooseName,
  type FamilyNetworks,
  isForeignRule,
  isOurs,
  networkOfRules,
  ownersOf,
} from "./ownership.ts";
import { type FirewallRule, sameRules } from "./rules.ts";
import { Walker } from "./walk.ts";

/** One of the tables that iptables-nft uses, in one family. */
interface SharedContext {
  readonly address: string;
  readonly names: ChainNames;
  readonly table: NftTable;
  readonly family: FirewallFamily;
  readonly own: FamilyNetworks;
  readonly network: Prefix | undefined;
}

/** Plans for one table of one family. */
export class SharedTable {
  readonly #context: SharedContext;
  readonly #owners: ReadonlyMap<string, ChainOwners & { readonly isInUse: boolean }>;
  /** The chain with our rules; undefined = none is needed. */
  #chosen: string | undefined;
  readonly walked = new Set<string>();

  constructor(context: SharedContext) {
    this.#context = context;
    const { table, names, own } = context;
    const hook = table.chains.get(names.hook)?.rules ?? [];
    this.#owners = new Map(
      [...table.chains]
        .filter(([name]) => isOwnName(name, names.chain))
        .map(([name, { rules }]) => [
          name,
          {
            ...ownersOf(rules.map(parseNftRule), own),
            isInUse: hook.some((rule) => targetOf(rule) === name),
          },
        ]),
    );
  }

  /** Whether the FORWARD chain drops what nothing accepts. */
  dropsForwarded(): boolean {
    const { names, table } = this.#context;
    const hook = table.chains.get(names.hook);
    if (names.table !== "filter" || hook === undefined) return false;
    return dropsByPolicy(hook) || this.#hookEntries().includes("barrier");
  }

  /** Gives the index of the rule of FORWARD (as it is now) where the jump stands or will stand. */
  repair(wanted: readonly FirewallRule[], lines: string[], changes: string[]): number {
    const { address, names, table, family, own } = this.#context;
    const network = networkOfRules({ forward: wanted, masquerade: [] })!;
    const chain = chooseName(names.chain, network, this.#owners);
    this.#chosen = chain;
    const found = table.chains.get(chain);
    const isInUse = this.#owners.get(chain)?.isInUse ?? false;
    const isForeign = (rule: NftRule) =>
      isInUse && rule.comment === names.comment && isForeignRule(parseNftRule(rule), own);
    const rules = found?.rules ?? [];
    if (
      found === undefined ||
      !sameRules(wanted, rules.filter((rule) => !isForeign(rule)).map(parseNftRule))
    ) {
      changes.push(`nftables chain ${address} ${chain} (${found === undefined ? "missing" : "other rules"})`);
      lines.push(`add chain ${address} ${chain}`, `flush chain ${address} ${chain}`);
      const others = rules.filter(isForeign).flatMap((rule) => parseNftRule(rule) ?? []);
      for (const rule of [...wanted, ...others]) {
        lines.push(
          `add rule ${address} ${chain} ${renderNftRule(family, rule, "counter ")} comment "${names.comment}"`,
        );
      }
    }
    const shared = table.chains.get(names.hook)!.rules;
    const entries = this.#hookEntries();
    const change = placeJump(entries);
    if (change !== undefined) {
      const state = change.remove.length === 0 ? "missing" : "misplaced";
      changes.push(`nftables jump from ${address} ${names.hook} to ${chain} (${state})`);
      for (const index of change.remove) lines.push(this.#deleteRule(names.hook, shared[index]!));
      const position = change.before === undefined ? "" : ` handle ${shared[change.before]!.handle}`;
      const verb = change.before === undefined ? "add" : "insert";
      lines.push(
        `${verb} rule ${address} ${names.hook}${position} counter jump ${chain} comment "${names.comment}"`,
      );
    }
    return acceptsAt(entries, change);
  }

  /** Deletes chains of ours that are not the chosen one, and, if there is none, our rules in the hook. */
  remove(lines: string[], changes: string[]): void {
    const { address, names, table } = this.#context;
    const gone = [...this.#owners].flatMap(([name, owners]) =>
      name !== this.#chosen && isOurs(owners) && !owners.hasForeign ? [name] : [],
    );
    for (const [name, { rules }] of table.chains) {
      // the plan of the jump deletes what is stale in the hook
      if (gone.includes(name) || (name === names.hook && this.#chosen !== undefined)) continue;
      const indices =
        name === names.hook
          ? ownEntries(this.#hookEntries())
          : rules.flatMap((rule, index) => (gone.includes(targetOf(rule) ?? "") ? [index] : []));
      for (const index of indices) {
        const rule = rules[index]!;
        changes.push(`nftables rule ${address} ${name} ${rule.body}`);
        lines.push(this.#deleteRule(name, rule));
      }
    }
    for (const name of gone) {
      changes.push(`nftables chain ${address} ${name}`);
      lines.push(`flush chain ${address} ${name}`, `delete chain ${address} ${name}`);
    }
  }

  #deleteRule(chain: string, rule: NftRule): string {
    return `delete rule ${this.#context.address} ${chain} handle ${rule.handle}`;
  }

  /** What the rules of the hook are to us. */
  #hookEntries(): HookEntry[] {
    const { names, table, network, own } = this.#context;
    const hook = table.chains.get(names.hook);
    if (hook === undefined) return [];
    const isWalked = names.table === "filter" && network !== undefined;
    const walker = isWalked ? new Walker(nftChains(table), networkPackets(network)) : undefined;
    const entries = hook.rules.map((rule): HookEntry => {
      const target = targetOf(rule);
      const owners = target === undefined ? undefined : this.#owners.get(target);
      if (target === this.#chosen && target !== undefined) {
        return /^jump \S+$/.test(rule.body) ? "jump" : "stale";
      }
      if (owners !== undefined) return isOurs(owners) && !owners.hasForeign ? "stale" : "foreign";
      if (target !== undefined && target === names.chain) return "stale";
      if (rule.comment === names.comment) return isForeignRule(parseNftRule(rule), own) ? "foreign" : "stale";
      if (walker === undefined) return "foreign";
      if (rule.body === `jump ${DOCKER_FORWARD}`) return "barrier";
      return walker.blocks(readNftRule(rule), dropsByPolicy(hook)) ? "barrier" : "foreign";
    });
    for (const chain of walker?.visited ?? []) this.walked.add(chain);
    return entries;
  }
}

/** The chain that a rule leads to. */
const targetOf = ({ body }: NftRule): string | undefined => /(?:^| )(?:jump|goto) (\S+)$/.exec(body)?.[1];
