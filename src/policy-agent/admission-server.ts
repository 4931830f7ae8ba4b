/**
 * The socket at which the CNI plugin reports a starting pod and waits for its policies: one line of JSON in, one line out.
 * Root's alone (mode 0600), and of this one purpose.
 */

import { createServer, type Server, type Socket } from "node:net";
import { parseStartingPod, type StartingPod } from "./starting-pod.ts";

/** A request has some 300 bytes. */
const MAX_LINE_CHARACTERS = 16 * 1024;
/** How long a client may take to send its line. */
const LINE_MS = 5_000;
/** Pods that start in the same moment on one node: kubelet starts a few at a time. */
const MAX_CONNECTIONS = 512;

/** From its start until it is disposed. */
export class AdmissionServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #stop = new AbortController();

  /** `listen` makes the server listen; rejects with its error. `admit` gives undefined or the problem, and never rejects. */
  static async start(
    listen: (server: Server) => Promise<void>,
    admit: (pod: StartingPod, signal: AbortSignal) => Promise<string | undefined>,
  ): Promise<AdmissionServer> {
    const server = new AdmissionServer(admit);
    await listen(server.#server);
    return server;
  }

  private constructor(admit: (pod: StartingPod, signal: AbortSignal) => Promise<string | undefined>) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => {}); // the plugin was killed
      socket.setTimeout(LINE_MS, () => socket.destroy());
      let text = "";
      const onData = (chunk: string) => {
        text += chunk;
        const end = text.indexOf("\n");
        if (end < 0 && text.length <= MAX_LINE_CHARACTERS) return;
        socket.off("data", onData).setTimeout(0);
        socket.resume(); // its end is noticed only while it is read
        void this.#answer(socket, end < 0 ? "" : text.slice(0, end), admit);
      };
      socket.setEncoding("utf8").on("data", onData);
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Those who wait get no answer, and ask the next flanneld. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #answer(
    socket: Socket,
    line: string,
    admit: (pod: StartingPod, signal: AbortSignal) => Promise<string | undefined>,
  ): Promise<void> {
    const pod = parseStartingPod(line);
    const problem = typeof pod === "string" ? pod : await admit(pod, this.#stop.signal);
    if (this.#stop.signal.aborted) return;
    socket.end(`${JSON.stringify(problem === undefined ? { ready: true } : { error: problem })}\n`);
  }
}
