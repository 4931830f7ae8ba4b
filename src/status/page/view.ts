/** What the parts of the page share: the language, how values are written, and which peer is chosen. */

import { language, type Word, wordsOf } from "./text.ts";

export const LANGUAGE = language(navigator.languages);
const words = wordsOf(LANGUAGE);

/** A word of the page in the browser's language. */
export const t = (word: Word): string => words[word];

const counts = new Intl.NumberFormat(LANGUAGE);
const clock = new Intl.DateTimeFormat(LANGUAGE, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});
const dateAndClock = new Intl.DateTimeFormat(LANGUAGE, {
  ...{ month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false },
});
const DAY_MS = 86_400_000;

/** A count in the style of the language. */
export const formatCount = (count: number): string => counts.format(count);

/** Milliseconds with two or three digits that mean something: 0.42, 4.2, 42. */
export const formatMs = (ms: number): string => ms.toFixed(ms < 1 ? 2 : ms < 10 ? 1 : 0);

/** A round-trip time; "–" = not measured. */
export const formatRtt = (ms: number | undefined): string => (ms === undefined ? "–" : `${formatMs(ms)} ms`);

/** A loss from 0 to 1 as a percentage; "–" = not measured. */
export const formatLoss = (ratio: number | undefined): string =>
  ratio === undefined
    ? "–"
    : `${ratio > 0 && ratio < 0.1 ? (ratio * 100).toFixed(1) : Math.round(ratio * 100)} %`;

/** The time of today, or date and time. */
export const formatTime = (ms: number): string =>
  (Math.abs(Date.now() - ms) < DAY_MS / 2 ? clock : dateAndClock).format(ms);

/** A lease's key as people know the host: "10.5.2.0-24" is the subnet 10.5.2.0, a node's name is itself. */
export const shortName = (key: string): string =>
  key.replace(/-\d{1,3}$/, (end) => (/^[\d.]+-\d+$/.test(key) ? "" : end));

/** Classes of a cell, from the best to the worst, by round-trip time. */
const RTT_STEPS_MS = [1, 5, 20, 100];

/** The CSS class for a round-trip time in milliseconds. */
export const rttClass = (ms: number): string => {
  const step = RTT_STEPS_MS.findIndex((limit) => ms <= limit);
  return `r${step < 0 ? RTT_STEPS_MS.length : step}`;
};
