/** Address families (bits/socket.h) as rtnetlink headers want them. */

import type { Family } from "../address/ip.ts";

export const AF_UNSPEC = 0;
const AF_INET = 2;
export const AF_BRIDGE = 7;
const AF_INET6 = 10;

/** AF_INET or AF_INET6. */
export const toAf = (family: Family): number => (family === 4 ? AF_INET : AF_INET6);

/** The reverse of {@link toAf}; undefined for other families. */
export const fromAf = (af: number): Family | undefined =>
  af === AF_INET ? 4 : af === AF_INET6 ? 6 : undefined;

/** Family of an address in text form. */
export const familyOfText = (address: string): Family => (address.includes(":") ? 6 : 4);

/** Splits "10.5.2.0/24" into address and length; without a length it is a host's: 32 or 128. */
export function splitPrefix(text: string): { readonly address: string; readonly length: number } {
  const slash = text.indexOf("/");
  if (slash < 0) return { address: text, length: familyOfText(text) === 4 ? 32 : 128 };
  return { address: text.slice(0, slash), length: Number(text.slice(slash + 1)) };
}
