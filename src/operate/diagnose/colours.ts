/** Colours on a terminal (ECMA-48, SGR). */

import type { Terminal } from "./diagnose-ports.ts";

const CODES = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 } as const;

/** The text in that colour; unchanged where there are none. */
export const paint = (
  { hasColours }: Pick<Terminal, "hasColours">,
  colour: keyof typeof CODES,
  text: string,
): string => (hasColours ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text);
