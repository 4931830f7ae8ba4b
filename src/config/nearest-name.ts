/** Which of the known names a misspelt one was probably meant to be: the nearest by edit distance, if it is near. */

/** The nearest of `names`; undefined if none is near enough to be what was meant. */
export function suggest(written: string, names: readonly string[]): string | undefined {
  const text = written.toLowerCase().replaceAll("_", "-");
  let best: string | undefined;
  let bestDistance = Math.floor(Math.min(text.length, 12) / 3) + 1;
  for (const name of names) {
    const distance = editDistance(text, name.toLowerCase().replaceAll("_", "-"));
    if (distance >= bestDistance) continue;
    [best, bestDistance] = [name, distance];
  }
  return best;
}

/** How many characters have to be inserted, removed, replaced or swapped with their neighbour (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const isEqual = a[row - 1] === b[column - 1];
      let distance = Math.min(
        last[column]! + 1,
        current[column - 1]! + 1,
        last[column - 1]! + (isEqual ? 0 : 1),
      );
      const isSwap = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (isSwap) distance = Math.min(distance, beforeLast[column - 2]! + 1);
      current.push(distance);
    }
    [beforeLast, last] = [last, current];
  }
  return last[b.length]!;
}
