/**
 * The script that makes one table from another: only what differs, element by element, as one transaction of nft. A chain's
 * address is in a map only while the chain has its rules, so no packet meets a pod that is isolated but has no rules, or no chain.
 */

import { compareTexts } from "./sorted-texts.ts";
import { POLICY_TABLE, type TableChain, type TableContents, type TableSet } from "./table.ts";

/** Elements in one line; a longer line costs nft more than its share. */
const ELEMENTS_PER_LINE = 500;

/** A script for `nft -f`, empty if there is nothing to do, and how much it changes. */
export interface TableChange {
  readonly lines: readonly string[];
  /** Elements, sets and chains that are created, changed or deleted. */
  readonly changeCount: number;
  /** Whether it takes away from what was allowed, or may: known connections have to be checked. */
  readonly mayForbid: boolean;
}

/**
 * @param before undefined = there is no table
 * @param elementsPerLine 1 lets a message of nft's name the element that it refused
 */
export function changeTable(
  before: TableContents | undefined,
  after: TableContents,
  elementsPerLine = ELEMENTS_PER_LINE,
): TableChange {
  if (before !== undefined && !isCompatible(before, after)) {
    // A set's type and a chain's hook cannot be changed. In one transaction no packet sees a moment without the table.
    const { lines, changeCount } = changeTable(undefined, after, elementsPerLine);
    return { lines: [`delete table ${POLICY_TABLE}`, ...lines], changeCount, mayForbid: true };
  }
  const script = new Script(elementsPerLine);
  if (before === undefined) script.add(`add table ${POLICY_TABLE}`);
  const sets = before?.sets ?? new Map<string, TableSet>();
  const chains = before?.chains ?? new Map<string, TableChain>();
  for (const [name, set] of after.sets) if (!sets.has(name)) script.createSet(name, set);
  // Sets before chains, chains before maps: nft resolves names in the order of the script.
  for (const [name, set] of after.sets) if (!isMap(set)) script.changeElements(name, sets.get(name), set);
  for (const [name, chain] of after.chains) script.changeChain(name, chains.get(name), chain);
  for (const [name, set] of after.sets) if (isMap(set)) script.changeElements(name, sets.get(name), set);
  const goneChains = [...chains.keys()].filter((name) => !after.chains.has(name));
  for (const name of goneChains) script.add(`flush chain ${POLICY_TABLE} ${name}`);
  for (const name of goneChains) script.count(`delete chain ${POLICY_TABLE} ${name}`);
  for (const [name, set] of sets) {
    if (!after.sets.has(name)) script.count(`delete ${isMap(set) ? "map" : "set"} ${POLICY_TABLE} ${name}`);
  }
  return script.change;
}

const isMap = ({ declaration }: TableSet): boolean => declaration.endsWith(": verdict");

function isCompatible(before: TableContents, after: TableContents): boolean {
  for (const [name, set] of after.sets) {
    const found = before.sets.get(name);
    if (found !== undefined && found.declaration !== set.declaration) return false;
  }
  for (const [name, chain] of after.chains) {
    const found = before.chains.get(name);
    if (found !== undefined && found.hook !== chain.hook) return false;
  }
  return true;
}

const sameRules = (a: TableChain, b: TableChain): boolean =>
  a === b ||
  (a.rules.length === b.rules.length && a.rules.every(({ mark }, index) => mark === b.rules[index]!.mark));

/** Collects the lines. */
class Script {
  readonly #elementsPerLine: number;
  readonly #lines: string[] = [];
  #count = 0;
  #mayForbid = false;

  constructor(elementsPerLine: number) {
    this.#elementsPerLine = elementsPerLine;
  }

  get change(): TableChange {
    return { lines: this.#lines, changeCount: this.#count, mayForbid: this.#mayForbid };
  }

  add(line: string): void {
    this.#lines.push(line);
  }

  count(line: string): void {
    this.add(line);
    this.#count++;
  }

  createSet(name: string, set: TableSet): void {
    this.count(`add ${isMap(set) ? "map" : "set"} ${POLICY_TABLE} ${name} { ${set.declaration}; }`);
  }

  changeElements(name: string, before: TableSet | undefined, after: TableSet): void {
    if (before === after || after.elements === undefined) return;
    const removed: string[] = [];
    const added: string[] = [];
    compareTexts(
      before?.elements ?? [],
      after.elements,
      (text) => removed.push(isMap(after) ? text.slice(0, text.indexOf(" : ")) : text),
      (text) => added.push(text),
    );
    this.#elements("delete", name, removed);
    this.#elements("add", name, added);
    // A new address in a map is a pod that was not isolated before; in any other set it only allows.
    if (removed.length > 0 || (isMap(after) && added.length > 0)) this.#mayForbid = true;
  }

  changeChain(name: string, before: TableChain | undefined, after: TableChain): void {
    if (before !== undefined && sameRules(before, after)) return;
    if (before === undefined) {
      const hook = after.hook === "" ? "" : ` { ${after.hook}; }`;
      this.count(`add chain ${POLICY_TABLE} ${name}${hook}`);
    } else {
      this.count(`flush chain ${POLICY_TABLE} ${name}`);
      this.#mayForbid = true;
    }
    for (const { body, mark } of after.rules)
      this.add(`add rule ${POLICY_TABLE} ${name} ${body} comment "${mark}"`);
  }

  #elements(verb: "add" | "delete", name: string, elements: readonly string[]): void {
    this.#count += elements.length;
    for (let at = 0; at < elements.length; at += this.#elementsPerLine) {
      const some = elements.slice(at, at + this.#elementsPerLine);
      this.add(`${verb} element ${POLICY_TABLE} ${name} { ${some.join(", ")} }`);
    }
  }
}
