/** Fault injection: answers that a test requests instead of the correct ones. */

import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import { KubeError, type KubeStatus } from "../objects/kube-error.ts";
import type { ApiRequest } from "./request-target.ts";

/** A fault to inject, and the requests that it applies to. */
export interface KubeFault {
  /** get, list, watch, patch, create, delete, update; undefined = all. */
  readonly verb?: string;
  /** "nodes", "nodes/status"; undefined = all. */
  readonly resource?: string;
  /** How many requests are answered with it; default 1. */
  readonly times?: number;
  readonly answer: FaultAnswer;
}

/**
 * A status (with a Status object if there is no body), a connection reset, no answer at all, or half of the correct answer
 * (of a watch: half of its first event) and then the end of the connection.
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

/** The injected faults that are not used up, oldest first. */
export class Faults {
  readonly #waiting = new Map<KubeFault, number>();

  add(fault: KubeFault): Disposable {
    // A copy: the same fault may be injected twice.
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

/** Answers with the fault; returns the status that the client sees, 0 = none. */
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

/** Resets the TCP connection, also below TLS. */
export function resetConnection({ socket }: IncomingMessage): void {
  const raw = (socket as { _parent?: typeof socket })._parent ?? socket;
  raw.resetAndDestroy();
  socket.destroy();
}
