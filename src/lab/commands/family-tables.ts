/** Tables of a lab that has two families of addresses. */

import { FAMILIES } from "../../address/family.ts";
import type { Family } from "../../address/ip.ts";

/** The lines of each family's table, with a title above each if there are both. */
export function formatFamilies(families: readonly Family[], linesOf: (family: Family) => string[]): string[] {
  const present = FAMILIES.map(({ family }) => family).filter((family) => families.includes(family));
  if (present.length === 1) return linesOf(present[0]!);
  return present.flatMap((family, index) => [...(index > 0 ? [""] : []), `IPv${family}`, ...linesOf(family)]);
}
