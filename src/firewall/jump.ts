/**
 * Where our jump stands in a chain that belongs to everybody.
 *
 * It goes to the end, so that whatever others decide first (an operator's rule, a network policy, DOCKER-USER, a
 * specific SNAT) keeps its say. But nothing comes after a rule that drops every packet: such a rule is a policy by other
 * means (a distribution's closing REJECT, Docker ≥ 28's own chain), and the jump has to stand before it. Where exactly
 * the jump is otherwise does not matter and is left alone, so that two programs never fight for a place.
 */

/** A rule of the shared chain: our jump, an outdated rule of ours, one that ends everything, or somebody else's. */
export type HookEntry = "jump" | "stale" | "barrier" | "foreign";

export interface JumpChange {
  /** Indices of the rules to take out. */
  readonly remove: readonly number[];
  /** Index (before removal) of the rule to stand before; undefined = at the end. */
  readonly before: number | undefined;
}

/** What has to change to have exactly one jump in a place where it works; undefined if that is so already. */
export function placeJump(entries: readonly HookEntry[]): JumpChange | undefined {
  const barrier = entries.indexOf("barrier");
  const ours = ownEntries(entries);
  const jump = ours[0];
  const stands = ours.length === 1 && entries[jump!] === "jump" && (barrier < 0 || jump! < barrier);
  return stands ? undefined : { remove: ours, before: barrier < 0 ? undefined : barrier };
}

/** Indices of everything of ours, to be taken out. */
export const ownEntries = (entries: readonly HookEntry[]): number[] =>
  entries.flatMap((entry, index) => (entry === "jump" || entry === "stale" ? [index] : []));
