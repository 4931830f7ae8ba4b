/** Signatures contain the time: what to say when a cloud refuses one because of this host's clock. */

import type { HttpAnswer } from "./http.ts";

/** "this host's clock is 17 min slow; …", by the answer's Date (RFC 9110, 6.6.1), with the remedy. */
export function describeClockSkew(answer: HttpAnswer, wallClockMs: number): string {
  const theirs = Date.parse(answer.headers.date ?? "");
  const minutes = Math.round((wallClockMs - theirs) / 60_000);
  const skew =
    Number.isNaN(minutes) || minutes === 0
      ? "is wrong"
      : `is ${Math.abs(minutes)} min ${minutes > 0 ? "fast" : "slow"}`;
  return `this host's clock ${skew}; synchronize it (systemd-timesyncd, chrony)`;
}
