/** A TCP relay on the loopback that can be cut, silenced and restored. */

import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { withNetns } from "../../src/linux/netns.ts";

export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** Resets all connections and refuses new ones. */
  cut(): Promise<void>;
  /** Keeps connections open but passes nothing on: a peer that vanished without a word. */
  silence(): void;
  /** Takes connections again; those silenced stay silent for ever. */
  restore(): Promise<void>;
}

/** `netns`: path of the network namespace in which it listens, on all addresses; default the own, on the loopback. */
export async function startTcpProxy(
  targetPort: number,
  { netns }: { readonly netns?: string } = {},
): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const pairs = new Set<readonly [Socket, Socket]>();
  let isSilent = false;

  const server = createServer((client) => {
    const target = connect(targetPort, "127.0.0.1");
    const pair = [client, target] as const;
    pairs.add(pair);
    for (const socket of pair) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        pairs.delete(pair);
        for (const other of pair) other.destroy();
      });
    }
    if (!isSilent) join(pair);
  });

  const listen = async (port: number) => {
    const listening = once(server, "listening");
    // Without a host name to look up, listen() makes its socket at once: in the namespace that we are in.
    if (netns !== undefined) withNetns(netns, () => server.listen(port));
    else server.listen(port, "127.0.0.1");
    await listening;
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return address.port;
  };
  const close = async () => {
    const closed = server.listening ? once(server, "close") : undefined;
    server.close();
    for (const socket of sockets) {
      // A socket that is shutting down cannot be reset: libuv refuses, and Node.js then never closes it.
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
    await closed;
  };

  const port = await listen(0);
  return {
    port,
    cut: close,
    silence() {
      isSilent = true;
      for (const [client, target] of pairs) {
        client.unpipe(target);
        target.unpipe(client);
      }
    },
    async restore() {
      isSilent = false;
      if (!server.listening) await listen(port);
    },
    [Symbol.asyncDispose]: close,
  };
}

function join([client, target]: readonly [Socket, Socket]): void {
  client.pipe(target);
  target.pipe(client);
}
