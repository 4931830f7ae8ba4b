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

/** Visits what is only in `before` and what is only in `after`. */
export function compareTexts(
  before: readonly string[],
  after: readonly string[],
  onRemoved: (text: string) => void,
  onAdded: (text: string) => void,
): void {
  let left = 0;
  let right = 0;
  while (left < before.length || right < after.length) {
    const old = before[left];
    const now = after[right];
    if (old === now) {
      left++;
      right++;
    } else if (now === undefined || (old !== undefined && old < now)) {
      onRemoved(old!);
      left++;
    } else {
      onAdded(now);
      right++;
    }
  }
}
