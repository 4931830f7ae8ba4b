/** Sorted lists of texts without duplicates: the elements of sets. A change is a new list; the texts themselves are shared. */

/** The first index whose text is not below `text` (by code unit). */
export function lowerBound(list: readonly string[], text: string): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle]! < text) low = middle + 1;
    else high = middle;
  }
  return low;
}

export const hasText = (list: readonly string[], text: string): boolean =>
  list[lowerBound(list, text)] === text;
