/**
 * The place of flanneld's jump in a chain that belongs to the whole host.
 *
 * It goes to the end, so that what others decide first (an operator's rule, a network policy, DOCKER-USER, a specific SNAT)
 * still decides. But nothing is reached after a rule that ends the walk of every packet: such a rule is a policy by other
 * means (a distribution's closing REJECT, also in a chain of its own, or Docker's ≥ 28), and the jump stands before it.
 * Otherwise its place does not matter and is left as it is, so that no two programs move their rules for ever.
 */

/** A rule of the shared chain: our jump, a stale rule of ours, one that ends the walk of every packet, or any other. */
export type HookEntry = "jump" | "stale" | "barrier" | "foreign";

/** How to bring the jump to its place; nothing to remove and nothing to insert = it is there. */
export interface JumpChange {
  /** Indices of the rules to delete. */
  readonly remove: readonly number[];
  /** Index (before the deletions) of the rule that the jump is inserted before; undefined = appended. */
  readonly before: number | undefined;
}

/** What to change to have exactly one jump in a place where it works; undefined = nothing. */
export function placeJump(entries: readonly HookEntry[]): JumpChange | undefined {
  const barrier = entries.indexOf("barrier");
  const ours = ownEntries(entries);
  const jump = ours[0];
  const isPlaced = ours.length === 1 && entries[jump!] === "jump" && (barrier < 0 || jump! < barrier);
  return isPlaced ? undefined : { remove: ours, before: barrier < 0 ? undefined : barrier };
}

/** Index of the present rules where the jump is, or will be after `change`. */
export const acceptsAt = (entries: readonly HookEntry[], change: JumpChange | undefined): number =>
  change === undefined ? entries.indexOf("jump") : (change.before ?? entries.length);

/** Indices of all rules of ours. */
export const ownEntries = (entries: readonly HookEntry[]): number[] =>
  entries.flatMap((entry, index) => (entry === "jump" || entry === "stale" ? [index] : []));
