/**
 * The filter of network policies in the kernel: makes our table of nftables equal to the desired filter, and keeps it so. The
 * first call adopts what an earlier flanneld left; only differences are written, each time as one transaction. The table stays on
 * shutdown, so that pods keep their policies.
 */

import { FlannelError, hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { type FirewallExec, runTool } from "../firewall/firewall-exec.ts";
import { type ConnectionTable, forbiddenConnections } from "./connections.ts";
import type { DesiredFilter, Direction } from "./model.ts";
import { isTableMissing, LIST_TABLE } from "./remove-table.ts";
import {
  CUT_CHAIN,
  CUT_HOOK,
  CUT_SET,
  counterName,
  POLICY_TABLE,
  type TableContents,
  TableMaker,
  type TableOptions,
} from "./table.ts";
import { type DeniedCount, readCounters, readListing } from "./table-listing.ts";
import { changeTable } from "./table-script.ts";

export interface PolicyFilterOptions extends TableOptions {
  readonly exec: FirewallExec;
  readonly logger: Logger;
  /** Connections that policies forbid now are cut; undefined = they go on until they end. */
  readonly connections?: ConnectionTable | undefined;
}

/** What one call changed. */
export interface FilterResult {
  /** Elements, sets and chains that were created, changed or deleted; 0 = in sync, nothing was written. */
  readonly changeCount: number;
  /** What nft refused, while the rest was programmed; call again later. */
  readonly refused: readonly string[];
  /** Why forbidden connections could not be cut the last time; call again later. */
  readonly cutProblem: string | undefined;
}

/** Denied packets of one pod since its counter exists (see {@link PolicyFilter.denials}). */
export interface Denial extends DeniedCount {
  readonly direction: Direction;
}

/** Attempts while foreign programs change the table between listing and writing. */
const MAX_ROUNDS = 3;
/** Elements and rules that nft may refuse before the whole is given up until the next call. */
const MAX_REFUSED = 20;

/** The table of this host, for as long as the daemon runs. Methods throw FirewallError or FlannelError, and can be repeated. */
export class PolicyFilter {
  readonly #options: PolicyFilterOptions;
  readonly #maker: TableMaker;
  /** Calls run one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  /** What the kernel has; undefined = it has to be listed. */
  #known: TableContents | undefined;
  /** Ids of the connections that are cut; undefined = not known. */
  #cut: ReadonlySet<number> | undefined;
  /** The filter whose forbidden connections are cut next. */
  #cutFor: DesiredFilter | undefined;
  #cutting: Promise<void> = Promise.resolve();
  #cutProblem: string | undefined;

  constructor(options: PolicyFilterOptions) {
    this.#options = options;
    this.#maker = new TableMaker(options);
  }

  /** A foreign program changed our table, or may have: the next {@link ensure} lists it and repairs what differs. */
  invalidate(): void {
    this.#known = undefined;
  }

  /**
   * Makes the kernel's table equal to the filter. Without a table yet, no pod is filtered until this returns. Connections that
   * are forbidden now are cut soon after ({@link settled}): a starting pod does not wait until all of them are read.
   */
  ensure(filter: DesiredFilter): Promise<FilterResult> {
    return this.#inTurn(async () => {
      const { changeCount, mayForbid, refused } = await this.#program(this.#maker.make(filter));
      const isCutDue = mayForbid || this.#cut === undefined || this.#cut.size > 0;
      if (isCutDue) this.#cutSoon(filter);
      return { changeCount, refused, cutProblem: this.#cutProblem };
    });
  }

  /** Waits until the connections that the last filter forbids are cut. @returns why they could not be */
  async settled(): Promise<string | undefined> {
    await this.#turn;
    await this.#cutting;
    return this.#cutProblem;
  }

  /** Reads the connections once for all filters that arrive meanwhile. */
  #cutSoon(filter: DesiredFilter): void {
    const isWaiting = this.#cutFor !== undefined;
    this.#cutFor = filter;
    if (isWaiting) return;
    this.#cutting = this.#cutting.then(async () => {
      const latest = this.#cutFor!;
      this.#cutFor = undefined;
      this.#cutProblem = await this.#cutForbidden(latest);
    });
  }

  /** How many connections are cut. */
  get cutCount(): number {
    return this.#cut?.size ?? 0;
  }

  /** Denied packets by pod and direction. A count begins again when a pod had none for an hour. */
  denials(): Promise<readonly Denial[]> {
    return this.#inTurn(async () => {
      const denials: Denial[] = [];
      for (const direction of ["ingress", "egress"] as const) {
        for (const family of [4, 6] as const) {
          const name = counterName(direction, family);
          const text = await this.#nft(["-j", "list", "set", ...POLICY_TABLE.split(" "), name]);
          for (const count of readCounters(text)) denials.push({ ...count, direction });
        }
      }
      return denials;
    });
  }

  /** Waits for the running call. The table stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.settled();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {}); // the caller of this turn handles the error
    return result;
  }

  async #program(
    after: TableContents,
  ): Promise<{ changeCount: number; mayForbid: boolean; refused: readonly string[] }> {
    const refused = new Map<string, string>();
    for (let round = 1; ; ) {
      const before = this.#known ?? (await this.#observe());
      const { lines, changeCount, mayForbid } = changeTable(before, after, round === 1 ? undefined : 1);
      const script = lines.filter((line) => !refused.has(line));
      try {
        if (script.length > 0) await this.#nft(["-f", "-"], `${script.join("\n")}\n`);
        // A table that is made anew has no ids and no chain for them.
        if (/^(?:add|delete) table /.test(script[0] ?? "")) this.#cut = undefined;
      } catch (error) {
        this.#known = undefined;
        if (!hasCode(error, "FIREWALL_REFUSED")) throw error;
        const problem = round === 1 ? undefined : refusedLine(error, script);
        if (problem !== undefined && refused.size < MAX_REFUSED) refused.set(problem.line, problem.text);
        else if (++round > MAX_ROUNDS) throw error;
        continue;
      }
      this.#known = refused.size === 0 ? after : undefined;
      return { changeCount: changeCount - refused.size, mayForbid, refused: [...refused.values()] };
    }
  }

  /** The table as the kernel has it; undefined if there is none. */
  async #observe(): Promise<TableContents | undefined> {
    try {
      return readListing(await this.#nft(["-j", ...LIST_TABLE]));
    } catch (error) {
      if (isTableMissing(error)) return undefined;
      throw error;
    }
  }

  async #cutForbidden(filter: DesiredFilter): Promise<string | undefined> {
    const { connections, logger } = this.#options;
    if (connections === undefined) return undefined;
    try {
      const [list, nodeAddresses] = await Promise.all([connections.list(), connections.nodeAddresses()]);
      const forbidden = forbiddenConnections(filter, list, nodeAddresses);
      const known = this.#cut;
      const added = known === undefined ? forbidden : forbidden.difference(known);
      const gone = known === undefined ? new Set<number>() : known.difference(forbidden);
      const lines = [
        ...(known === undefined ? [`flush set ${POLICY_TABLE} ${CUT_SET}`] : []),
        ...elementLine("delete", gone),
        ...elementLine("add", added),
        ...((known?.size ?? -1) === forbidden.size ? [] : cutChain(forbidden.size > 0)),
      ];
      this.#cut = undefined;
      if (lines.length > 0) await this.#nft(["-f", "-"], `${lines.join("\n")}\n`);
      this.#cut = forbidden;
      if (added.size > 0) logger.debug(`Cut ${added.size} connections that policies forbid now`);
      return undefined;
    } catch (error) {
      return messageOf(error); // a failure of nft or netlink; the filter itself is in effect
    }
  }

  async #nft(args: readonly string[], stdin?: string): Promise<string> {
    try {
      return await runTool(this.#options.exec, "nft", args, stdin);
    } catch (error) {
      if (!hasCode(error, "FIREWALL_TOOL_MISSING")) throw error;
      throw new FlannelError("FIREWALL_TOOL_MISSING", NFT_MISSING, { cause: error });
    }
  }
}

const NFT_MISSING =
  '"nft" is not installed and network policies need it: install the package "nftables", or run flanneld without --network-policy';

/** Creates the chain, or deletes it, whether or not it exists. */
const cutChain = (isNeeded: boolean): string[] => {
  const chain = `${POLICY_TABLE} ${CUT_CHAIN}`;
  return [
    `add chain ${chain} { ${CUT_HOOK}; }`,
    `flush chain ${chain}`,
    isNeeded ? `add rule ${chain} ct id @${CUT_SET} drop` : `delete chain ${chain}`,
  ];
};

const elementLine = (verb: "add" | "delete", ids: ReadonlySet<number>): string[] =>
  ids.size === 0 ? [] : [`${verb} element ${POLICY_TABLE} ${CUT_SET} { ${[...ids].join(", ")} }`];

/** The line that nft names in its message ("/dev/stdin:12:3-9: Error: …"), if it may be left out without breaking others. */
function refusedLine(
  error: unknown,
  script: readonly string[],
): { readonly line: string; readonly text: string } | undefined {
  const found = /(?:\/dev\/stdin|<cmdline>|-):(\d+):\d+(?:-\d+)?: Error: ([^\n]*)/.exec(
    (error as Error).message,
  );
  const line = found === null ? undefined : script[Number(found[1]) - 1];
  if (line === undefined || !/^(?:add element|add rule|delete)/.test(line)) return undefined;
  return { line, text: `${line}: ${found![2]}` };
}
