/** Addresses that a server listens on, as flags write them: "127.0.0.1:2379", "[::1]:2379". */

import { type Ip, parseIp } from "../address/ip.ts";

export interface ListenAddress {
  readonly ip: Ip;
  /** 1…65535. */
  readonly port: number;
}

/** Undefined if the text is malformed. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? [];
  const ip = parseIp(bracketed ?? plain ?? "");
  const port = Number(digits);
  return ip !== undefined && port >= 1 && port <= 65535 ? { ip, port } : undefined;
}
