/** Answers that a test wants instead of the right ones. */

import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import { KubeError, type KubeStatus } from "../objects/kube-error.ts";
import type { ApiRequest } from "./request-target.ts";

export interface KubeFault {
  /** get, list, watch, patch, create, delete, update; none = all. */
  readonly verb?: string;
  /** "nodes", "nodes/status"; none = all. */
  readonly resource?: string;
  /** How many requests it answers; default 1. */
  readonly times?: number;
  readonly answer: FaultAnswer;
}

/**
 * A status (with a Status object, if no body is given); the connection reset at once; no answer ever; half of the right answer (of a watch: half of its first event),
 * then the end of the connection.
 */
export type FaultAnswer =
  | {
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  | "reset"
  | "hang"
  | "truncate";

/** The faults that wait for their requests, oldest first. */
export class Faults {
  readonly #waiting = new Map<KubeFault, number>();

  add(fault: KubeFault): Disposable {
    // A value of its own: the same fault may be given twice.
    const own = { ...fault };
    this.#waiting.set(own, fault.times ?? 1);
    return { [Symbol.dispose]: () => void this.#waiting.delete(own) };
  }

  take({ verb, resource }: ApiRequest): FaultAnswer | undefined {
    for (const [fault, times] of this.#waiting) {
      if ((fault.verb ?? verb) !== verb || (fault.resource ?? resource) !== resource) continue;
      if (times <= 1) this.#waiting.delete(fault);
      else this.#waiting.set(fault, times - 1);
      return fault.answer;
    }
    return undefined;
  }
}

/** Answers so; the status that the client sees, 0 = none. */
export function answerFault(
  answer: Exclude<FaultAnswer, "truncate">,
  request: IncomingMessage,
  response: ServerResponse,
): number {
  if (answer === "hang") return 0;
  if (answer === "reset") {
    resetConnection(request);
    return 0;
  }
  response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
  response.end(answer.body ?? JSON.stringify(statusOf(answer.status)));
  return answer.status;
}

function statusOf(code: number): KubeStatus {
  const message = STATUS_CODES[code] ?? "injected";
  return new KubeError(code, message.replaceAll(" ", ""), message).status;
}

/** A TCP reset where the socket can do it (of TLS, what carries it is reset). */
export function resetConnection({ socket }: IncomingMessage): void {
  const raw = (socket as { _parent?: typeof socket })._parent ?? socket;
  raw.resetAndDestroy();
  socket.destroy();
}
