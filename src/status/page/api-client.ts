/** Requests to this host's flanneld, and to no other host: /v1/… for answers, /v1/events for what happens. */

import type { MatrixRow, PathReport, PeerReport, RouteReport, Status, StatusEvent } from "../api.ts";
import type { Answers } from "./model.ts";

const TYPES: readonly StatusEvent["type"][] = ["peer", "lease", "drift", "readiness", "probe"];

const REOPEN_MS = 5_000;

/** Undefined = not known yet (503). Rejects if flanneld does not answer. */
async function ask<T>(path: string): Promise<T | undefined> {
  const response = await fetch(path, { cache: "no-store" });
  if (response.status === 503 || response.status === 404) return undefined;
  if (!response.ok) throw new Error(`${path}: HTTP status ${response.status}`);
  return (await response.json()) as T;
}

/** Everything at once. Rejects if flanneld does not answer. */
export async function askAll(): Promise<Answers> {
  const [status, peers, routes, rows] = await Promise.all([
    askStatus(),
    ask<PeerReport[]>("/v1/peers"),
    ask<RouteReport[]>("/v1/routes?probes=false"),
    ask<MatrixRow[]>("/v1/matrix"),
  ]);
  return { status, peers: peers ?? [], routes: routes ?? [], rows: rows ?? [] };
}

/** The state of this host. Rejects if flanneld does not answer. */
export async function askStatus(): Promise<Status> {
  const status = await ask<Status>("/v1/status");
  if (status === undefined) throw new Error("/v1/status: not known");
  return status;
}

/** The path to a peer; undefined = not known. `key` is the key of a lease, a subnet, or an address in one. */
export const askPath = (key: string): Promise<PathReport | undefined> =>
  ask<PathReport>(`/v1/path?to=${encodeURIComponent(key)}`);

/** What the page does with events. */
export interface EventHandlers {
  readonly onEvent: (event: StatusEvent) => void;
  /** Some events are missing. */
  readonly onGap: () => void;
  readonly onState: (isConnected: boolean) => void;
}

/** Events that are kept, then those that happen. The browser reconnects and resumes by itself (HTML Standard, 9.2). */
export function followEvents({ onEvent, onGap, onState }: EventHandlers): void {
  let lastId = "0";
  const open = () => {
    const source = new EventSource(`/v1/events?after=${encodeURIComponent(lastId)}`);
    for (const type of TYPES)
      source.addEventListener(type, ({ data, lastEventId }) => {
        lastId = lastEventId;
        onEvent(JSON.parse(data) as StatusEvent);
      });
    source.addEventListener("gap", onGap);
    source.addEventListener("open", () => onState(true));
    source.addEventListener("error", () => {
      onState(false);
      // Closed permanently, e.g. because there are too many streams.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, REOPEN_MS);
    });
  };
  open();
}
