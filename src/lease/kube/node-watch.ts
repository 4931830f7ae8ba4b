/**
 * Nodes, watched without a gap: a listing, then changes from its version on. A broken watch goes on from the last version
 * seen, which bookmarks keep fresh; when the server has forgotten that one (410 Gone), everything is listed again.
 *
 * Of each node only what `read` picks out of its JSON is kept: the objects themselves would be tens of megabytes.
 */

import { messageOf, StoreError } from "../../base/error.ts";
import { createOutage, type OutagePorts } from "../outage.ts";
import type { ApiClient } from "./api-client.ts";
import { JsonFault, JsonReader } from "./json-reader.ts";
import type { KubeTimings } from "./kube-options.ts";
import type { NodeReader } from "./node-record.ts";
import { readEvents, type WatchEvent } from "./watch-events.ts";

/** Nodes in one answer: 4 MB of them at 8 KB each. */
const PAGE_SIZE = 500;
/** How much longer than its time limit a watch may last. */
const WATCH_MARGIN_MS = 30_000;
/** After as many failures in a row without a single event, the version that the watch begins at is not trusted. */
const DISTRUST_AFTER = 3;

export interface NodeSource<Node> {
  readonly client: ApiClient;
  readonly timings: KubeTimings;
  /** Undefined = all nodes. */
  readonly nodeName?: string | undefined;
  /** For the log: "the nodes". */
  readonly what: string;
  /** Reads what is kept of a node object. */
  readonly read: NodeReader<Node>;
}

export type NodeUpdate<Node> =
  | { readonly type: "snapshot"; readonly nodes: readonly Node[] }
  | { readonly type: "put" | "delete"; readonly node: Node };

/** Watches until `signal` is aborted; never throws. */
export async function* watchNodes<Node>(
  source: NodeSource<Node>,
  ports: OutagePorts,
  signal: AbortSignal,
): AsyncGenerator<NodeUpdate<Node>, void> {
  const { client, timings, what } = source;
  const outage = createOutage(`${what} in Kubernetes`, timings, ports, signal);
  /** Undefined = everything has to be listed. */
  let version: string | undefined;
  /** Failures since the last event. */
  let failures = 0;
  /** Whether the last watch broke before it brought anything: the next one has to bring something to count. */
  let isDoubtful = false;
  while (!signal.aborted) {
    using scope = new WatchScope(signal);
    const isListed = version === undefined;
    const beganAtMs = ports.timers.nowMs();
    let isOpen = false;
    let isFruitful = false;
    try {
      if (version === undefined) {
        const listing = await listNodes(source, signal);
        if (signal.aborted) return;
        version = listing.version;
        yield { type: "snapshot", nodes: listing.nodes };
      }
      const watch = await openWatch(source, version, ports.random, scope.signal);
      isOpen = true;
      if (!isDoubtful) outage.over();
      for await (const event of watch) {
        if (isEarlier(event.version, version)) throw startOver("the API server holds older data than before");
        version = event.version;
        isFruitful = true;
        isDoubtful = false;
        failures = 0;
        outage.over();
        if (event.type === "bookmark") continue;
        const { type, node } = event;
        if (node !== undefined) yield { type, node };
      }
      // The server ends every watch in its time; one that ends at once would be opened again and again.
      if (!isFruitful && ports.timers.nowMs() - beganAtMs < timings.retryMinMs) {
        throw new StoreError("UNAVAILABLE", "the API server ends the watch at once");
      }
    } catch (error) {
      if (signal.aborted) return;
      const failure = client.describe(error);
      const isStale = failure.code === "COMPACTED";
      const isEarly = !isFruitful && ports.timers.nowMs() - beganAtMs < timings.retryMaxMs;
      isDoubtful = isOpen && isEarly;
      if (isStale || ++failures >= DISTRUST_AFTER) {
        if (isStale) ports.logger.info(`${messageOf(failure)}: listing ${what} again`);
        version = undefined;
        failures = 0;
      }
      // What is forgotten is listed at once, unless that has just been done.
      if (!isStale || (isListed && isEarly)) await outage.pause(failure);
    }
  }
}

interface Listing<Node> {
  readonly nodes: Node[];
  readonly version: string;
}

/** Throws StoreError; COMPACTED if the server forgot the listing between two pages. */
async function listNodes<Node>(source: NodeSource<Node>, signal: AbortSignal): Promise<Listing<Node>> {
  const nodes: Node[] = [];
  let position = "";
  for (;;) {
    const bytes = await source.client.fetch({
      verb: "list",
      resource: "nodes",
      query: {
        ...selectorOf(source),
        limit: String(PAGE_SIZE),
        ...(position !== "" && { continue: position }),
      },
    });
    signal.throwIfAborted();
    const { version, next } = readPage(bytes, source.read, nodes);
    if (next === "") return { nodes, version };
    position = next;
  }
}

/** Appends the nodes of a NodeList to `nodes`. Throws StoreError. */
function readPage<Node>(
  bytes: Buffer,
  read: NodeReader<Node>,
  nodes: Node[],
): { readonly version: string; readonly next: string } {
  let version = "";
  let next = "";
  try {
    const reader = new JsonReader(bytes);
    reader.object((member) => {
      if (member === "items") {
        reader.array(() => {
          const { node } = read(reader);
          if (node !== undefined) nodes.push(node);
        });
      } else if (member === "metadata") {
        reader.object((name) => {
          if (name === "resourceVersion") version = reader.string() ?? "";
          else if (name === "continue") next = reader.string() ?? "";
          else reader.skip();
        });
      } else reader.skip();
    });
    reader.end();
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error;
    version = "";
  }
  if (version !== "") return { version, next };
  throw new StoreError("INVALID", "the API server's list of nodes makes no sense: is the address right?");
}

async function openWatch<Node>(
  source: NodeSource<Node>,
  version: string,
  random: () => number,
  signal: AbortSignal,
): Promise<AsyncGenerator<WatchEvent<Node>, void>> {
  const { watchMs, watchSilenceMs } = source.timings;
  // Not all hosts at one time.
  const lifeMs = watchMs * (1 + random());
  const message = await source.client.watch(
    {
      verb: "watch",
      resource: "nodes",
      query: {
        ...selectorOf(source),
        resourceVersion: version,
        allowWatchBookmarks: "true",
        timeoutSeconds: String(Math.ceil(lifeMs / 1000)),
      },
    },
    signal,
  );
  return readEvents(message, source.read, { lifeMs: lifeMs + WATCH_MARGIN_MS, silenceMs: watchSilenceMs });
}

const selectorOf = ({ nodeName }: NodeSource<unknown>): Record<string, string> =>
  nodeName === undefined ? {} : { fieldSelector: `metadata.name=${nodeName}` };

/**
 * Whether a version is before another. They are numbers that rise (KEP-5504); those of another server's making, which are
 * not, say nothing.
 */
const isEarlier = (version: string, than: string): boolean =>
  /^\d+$/.test(version) && /^\d+$/.test(than) && BigInt(version) < BigInt(than);

const startOver = (message: string): StoreError => new StoreError("COMPACTED", message);

/** Ends the watch whenever the block that opened it is left. */
class WatchScope implements Disposable {
  readonly #controller = new AbortController();
  readonly signal: AbortSignal;
  constructor(outer: AbortSignal) {
    this.signal = AbortSignal.any([outer, this.#controller.signal]);
  }
  [Symbol.dispose](): void {
    this.#controller.abort();
  }
}
