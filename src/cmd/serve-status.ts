/**
 * Starts the status server where the options say: on a TCP port, on a unix socket, or on both. It is started once the host is
 * ready or has not become so soon, so that it delays no start; what cannot be listened on is logged and does no other harm.
 */

import type { Server } from "node:http";
import { formatIp } from "../address/ip.ts";
import type { Readiness } from "../agent/readiness.ts";
import { hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { retry } from "../base/retry.ts";
import { sleep, type Timers } from "../base/timers.ts";
import type { ListenAddress } from "../config/listen-address.ts";
import type { StatusOptions } from "../config/options-status.ts";
import { TokenFile } from "../status/access.ts";
import { listen } from "../status/bounded-server.ts";
import { fetchRow } from "../status/fetch-row.ts";
import { PeerRows, type RowRequests } from "../status/peer-rows.ts";
import { StatusServer, type StatusServerOptions } from "../status/status-server.ts";
import type { StatusSource } from "../status/status-source.ts";
import { listenOnSocket } from "../status/unix-socket.ts";

interface Ports {
  readonly readiness: Readiness;
  readonly logger: Logger;
  readonly timers: Timers;
  /** The flight recorder's text in pieces, for root only. */
  readonly recording: () => Iterable<string>;
}

/** How long a host that is not ready is without a status server. */
const START_DELAY_MS = 500;
/** A port is free again when the process that uses it ends; no notice says so. */
const RETRY_MS = 10_000;

/** Serves `source` until disposed; returns at once. */
export function serveStatus(
  source: StatusSource,
  options: StatusOptions,
  { readiness, logger, timers, recording }: Ports,
): AsyncDisposable {
  const stop = new AbortController();
  const servers = new AsyncDisposableStack();
  const rows = new PeerRows(source, rowRequests(options));
  const start = async (
    place: string,
    bind: (server: Server) => Promise<void>,
    access: () => StatusServerOptions = () => ({}),
  ): Promise<void> => {
    const server = await retry(
      {
        failure: `Status server not started on ${place}`,
        attempt: () => StatusServer.start(source, bind, { ...access(), rows }),
        ...{ pauseMs: RETRY_MS, signal: stop.signal, level: "warn" },
      },
      { logger, timers },
    );
    if (server === undefined) return;
    servers.use(server);
    logger.info(`Status server on ${place}${isOpenToOthers() ? OPEN_NOTE : ""}`);

    function isOpenToOthers(): boolean {
      const { listen: address, tokenFile, tls } = options;
      const isProtected = tokenFile !== undefined || tls?.clientCaFile !== undefined;
      return address !== undefined && place === describe(address) && !isProtected && !isLoopback(address);
    }
  };
  const started = (async () => {
    await Promise.race([readiness.whenReady(stop.signal), sleep(timers, START_DELAY_MS, stop.signal)]);
    if (stop.signal.aborted) return;
    const { socket, listen: address, tokenFile, tls } = options;
    const access = () => ({
      token: tokenFile === undefined ? undefined : new TokenFile(tokenFile, logger),
      ...{ tls, logger },
    });
    await Promise.all([
      socket === undefined
        ? undefined
        : start(
            socket,
            (server) => listenOnSocket(server, socket),
            () => ({ recording }),
          ),
      address === undefined
        ? undefined
        : start(describe(address), (server) => listenOnPort(server, address), access),
    ]);
  })();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await started;
      await servers.disposeAsync();
    },
  };
}

const OPEN_NOTE =
  ", which serves every client that reaches it; see --status-token-file and --status-tls-client-ca-file";

/**
 * Peers are assumed to have this host's flags. The token is not sent to them: whoever can write a lease would receive it.
 */
function rowRequests({ listen: address, tokenFile, tls }: StatusOptions): RowRequests | string {
  if (address === undefined || isLoopback(address))
    return "rows of other hosts are requested only if --status-listen is reachable for them, e.g. 0.0.0.0:7000 on every host";
  if (tokenFile !== undefined || tls !== undefined)
    return "rows of other hosts are not requested where status servers need a token or TLS";
  return { port: address.port, fetch: fetchRow, nowMs: () => Date.now() };
}

/** 127.0.0.0/8 or ::1. */
const isLoopback = ({ ip }: ListenAddress): boolean =>
  ip.family === 4 ? ip.value >> 24n === 127n : ip.value === 1n;

const describe = ({ ip, port }: ListenAddress): string => `${formatIp(ip)} port ${port}`;

async function listenOnPort(server: Server, { ip, port }: ListenAddress): Promise<void> {
  try {
    await listen(server, { host: formatIp(ip), port });
  } catch (error) {
    const problem = hasCode(error, "EADDRINUSE")
      ? "the port is in use"
      : hasCode(error, "EADDRNOTAVAIL")
        ? "this host does not have that address"
        : messageOf(error);
    throw new Error(`${problem}; choose another --status-listen, or off`, { cause: error });
  }
}
