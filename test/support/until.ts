/** Waits for a condition, never for a time: looks every few ms until it holds, and fails loudly at the deadline. */

const PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 50;

export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  deadlineMs = 30_000,
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    const startedMs = performance.now();
    if (await condition()) return;
    if (performance.now() > endMs) throw new Error(`no ${what} within ${deadlineMs} ms`);
    await pauseAfter(performance.now() - startedMs);
  }
}

/** A look that took long starts programs, whose processor time is missed elsewhere: it is not repeated at once. */
export function pauseAfter(tookMs: number): Promise<void> {
  const pauseMs = Math.min(Math.max(2 * tookMs, PAUSE_MS), LONGEST_PAUSE_MS);
  return new Promise((resolve) => setTimeout(resolve, pauseMs));
}
