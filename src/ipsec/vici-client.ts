/** A client of charon's VICI socket: commands in order, one at a time, and the events that a streaming command sends. */

import { createConnection, type Socket } from "node:net";
import { FlannelError, messageOf } from "../base/error.ts";
import {
  CMD_REQUEST,
  CMD_RESPONSE,
  decodePacket,
  EVENT,
  EVENT_CONFIRM,
  EVENT_REGISTER,
  EVENT_UNREGISTER,
  encodePacket,
  type ViciPacket,
  type ViciSection,
} from "./vici.ts";

/** How long charon may take to answer. */
const TIMEOUT_MS = 10_000;

/** A connection to charon's VICI socket. Requests throw FlannelError. */
export class ViciClient implements Disposable {
  readonly #socket: Socket;
  /** Aborted when either side closes the connection, with the reason. */
  readonly closed: AbortSignal;
  #received: Buffer = Buffer.alloc(0);
  #answer: PromiseWithResolvers<ViciPacket> | undefined;
  /** The event that a streaming command sends, and what takes it. */
  #streamed: { readonly event: string; readonly take: (message: ViciSection) => void } | undefined;
  readonly #subscribers = new Map<string, () => void>();
  #previous: Promise<unknown> = Promise.resolve();
  #failure: FlannelError | undefined;

  /** Connects. Rejects with FlannelError that has the errno's name: ENOENT and ECONNREFUSED = no charon there. */
  static connect(path: string): Promise<ViciClient> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path);
      socket.once("error", (error: NodeJS.ErrnoException) =>
        reject(new FlannelError(error.code ?? "EIO", `failed to connect to ${path}: ${messageOf(error)}`)),
      );
      socket.once("connect", () => {
        socket.removeAllListeners("error");
        resolve(new ViciClient(socket));
      });
    });
  }

  private constructor(socket: Socket) {
    const controller = new AbortController();
    this.#socket = socket;
    this.closed = controller.signal;
    socket.on("data", (data: Buffer) => this.#take(data));
    socket.on("error", (error: NodeJS.ErrnoException) =>
      this.#fail(
        new FlannelError(error.code ?? "EIO", `the connection to charon failed: ${messageOf(error)}`),
      ),
    );
    socket.on("close", () => {
      this.#fail(new FlannelError("ECONNRESET", "charon closed the connection"));
      controller.abort(this.#failure);
    });
  }

  /** Rejects with FlannelError: `REFUSED` (charon says why), ETIMEDOUT, EPROTO, ECONNRESET. */
  command(name: string, message: ViciSection = {}): Promise<ViciSection> {
    return this.#inTurn(() => this.#run(name, message));
  }

  /** The events called `event` that the command sends before its response. */
  stream(name: string, event: string, message: ViciSection = {}): Promise<ViciSection[]> {
    return this.#inTurn(async () => {
      const events: ViciSection[] = [];
      await this.#exchange(EVENT_REGISTER, event, {}, EVENT_CONFIRM);
      this.#streamed = { event, take: (received) => void events.push(received) };
      try {
        await this.#run(name, message);
      } finally {
        this.#streamed = undefined;
      }
      await this.#exchange(EVENT_UNREGISTER, event, {}, EVENT_CONFIRM);
      return events;
    });
  }

  /** Calls `onEvent` whenever charon sends one of these events, until the connection is closed. Rejects as `command` does. */
  async subscribe(events: readonly string[], onEvent: () => void): Promise<void> {
    for (const event of events) {
      this.#subscribers.set(event, onEvent);
      await this.#inTurn(() => this.#exchange(EVENT_REGISTER, event, {}, EVENT_CONFIRM));
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#previous.then(work);
    this.#previous = turn.catch(() => {});
    return turn;
  }

  async #run(name: string, message: ViciSection): Promise<ViciSection> {
    const { message: answer } = await this.#exchange(CMD_REQUEST, name, message, CMD_RESPONSE);
    if (answer.success === "no")
      throw new FlannelError(
        "REFUSED",
        `charon refused ${name}: ${String(answer.errmsg ?? "no reason given")}`,
      );
    return answer;
  }

  async #exchange(type: number, name: string, message: ViciSection, expected: number): Promise<ViciPacket> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#answer = Promise.withResolvers();
    const timer = setTimeout(() => {
      this.#fail(
        new FlannelError("ETIMEDOUT", `charon did not answer ${name} within ${TIMEOUT_MS / 1000} s`),
      );
    }, TIMEOUT_MS);
    try {
      this.#socket.write(encodePacket({ type, name, message }));
      const packet = await this.#answer.promise;
      if (packet.type === expected) return packet;
      throw new FlannelError("EOPNOTSUPP", `charon does not know ${name}: is it older than 5.2.0?`);
    } finally {
      clearTimeout(timer);
      this.#answer = undefined;
    }
  }

  #take(data: Buffer): void {
    this.#received = Buffer.concat([this.#received, data]);
    try {
      for (;;) {
        const decoded = decodePacket(this.#received);
        if (decoded === undefined) return;
        this.#received = this.#received.subarray(decoded.sizeBytes);
        const { type, name, message } = decoded.packet;
        if (type !== EVENT) this.#answer?.resolve(decoded.packet);
        else if (name === this.#streamed?.event) this.#streamed.take(message);
        else this.#subscribers.get(name)?.();
      }
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      this.#fail(error);
    }
  }

  #fail(error: FlannelError): void {
    this.#failure ??= error;
    this.#answer?.reject(this.#failure);
    this.#socket.destroy();
  }
}
