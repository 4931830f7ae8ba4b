/** "127.0.0.1:2379", "[::1]:2379" or "store.example.com:2379", as the flags that say where to listen have it. */

import { ConfigError } from "../../base/error.ts";
import type { Listen } from "./front-door.ts";

/** `flag`: the flag it came from, for messages. Port 0 = any free one. Throws ConfigError. */
export function parseListenAddress(text: string, flag: string): Listen {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new ConfigError(
      `${flag}: ${JSON.stringify(text)} is not ADDRESS:PORT, such as 127.0.0.1:2379 or [::1]:2379`,
    );
  }
  return { host: (match[1] ?? match[2])!, port };
}

/** Whether only this machine can reach it. */
export const isLoopback = ({ host }: Listen): boolean =>
  host === "localhost" || host === "::1" || host.startsWith("127.");
