/**
 * Nodes, watched without a gap: a listing, then changes from its version on. A broken watch continues from the last version
 * seen, which bookmarks keep recent; when the server no longer has that version (410 Gone), all nodes are listed again.
 *
 * Of each node only what `read` picks out of its JSON is kept: the objects themselves would be tens of megabytes.
 */

import { StoreError } from "../../base/error.ts";
import { createOutage, type OutagePorts } from "../outage.ts";
import { StreamScope, startOver } from "../stream-scope.ts";
import type { ApiClient } from "./api-client.ts";
import type { JsonReader } from "./json-reader.ts";
import type { KubeTimings } from "./kube-options.ts";
import { readList } from "./list-reader.ts";
import type { NodeReader } from "./node-record.ts";
import { readEvents, type WatchEvent } from "./watch-events.ts";

/** Nodes in one response, where the server supports paging. */
const PAGE_SIZE = 500;
/** How much longer than its time limit a watch may last. */
const WATCH_MARGIN_MS = 30_000;
/** After this many failures in a row without an event, the version that the watch starts from is not trusted. */
const DISTRUST_AFTER = 3;

/** Which nodes to watch, over which client, and what to keep of each. */
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

/** All nodes now, or one that was added, changed or deleted. A snapshot replaces everything. */
export type NodeUpdate<Node> =
  | { readonly type: "snapshot"; readonly nodes: readonly Node[] }
  | { readonly type: "put" | "delete"; readonly node: Node };

/** Watches until `signal` is aborted; never throws. */
export async function* watchNodes<Node>(
  source: NodeSource<Node>,
  ports: OutagePorts,
  signal: AbortSignal,
): AsyncGenerator<NodeUpdate<Node>, void> {
  const { timings, what } = source;
  const outage = createOutage(`${what} in Kubernetes`, timings, ports, signal);
  /** Undefined = all nodes have to be listed. */
  let version: string | undefined;
  /** The newest version seen. */
  let known: string | undefined;
  /** Failures since the last event. */
  let failures = 0;
  /** Whether the last watch broke before its first event: the next one counts from its first event on. */
  let isDoubtful = false;
  /** When the server last answered that the version is too old. */
  let staleAtMs = Number.NEGATIVE_INFINITY;
  while (!signal.aborted) {
    using scope = new StreamScope(signal);
    const beganAtMs = ports.timers.nowMs();
    let isOpen = false;
    let isFruitful = false;
    try {
      if (version === undefined) {
        const listing = await listNodes(source, known, signal);
        version = listing.version;
        known = version;
        yield { type: "snapshot", nodes: listing.nodes };
      }
      const watch = await openWatch(source, version, ports.random, scope.signal);
      isOpen = true;
      if (!isDoubtful) outage.over();
      for await (const event of watch) {
        if (isEarlier(event.version, version)) throw startOver("the API server has older data than before");
        version = event.version;
        known = version;
        isFruitful = true;
        isDoubtful = false;
        failures = 0;
        outage.over();
        if (event.type === "bookmark") continue;
        const { type, node } = event;
        if (node !== undefined) yield { type, node };
      }
      // The server ends every watch after its timeout; one that ends immediately would be reopened in a loop.
      if (ports.timers.nowMs() - beganAtMs < timings.retryMinMs) {
        throw new StoreError("UNAVAILABLE", "the API server ended the watch immediately");
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof StoreError)) throw error;
      const isStale = error.code === "COMPACTED";
      const nowMs = ports.timers.nowMs();
      const isEarly = !isFruitful && nowMs - beganAtMs < timings.retryMaxMs;
      isDoubtful = isOpen && isEarly;
      if (isStale || ++failures >= DISTRUST_AFTER) {
        if (isStale) ports.logger.info(`Listing ${what} again: ${error.message}`);
        version = undefined;
        failures = 0;
      }
      // Listed again immediately, unless the previous listing is recent: each listing may be tens of megabytes.
      if (!isStale || nowMs - staleAtMs < timings.retryMaxMs) await outage.pause(error);
      if (isStale) staleAtMs = nowMs;
    }
  }
}

interface Listing<Node> {
  readonly nodes: Node[];
  readonly version: string;
}

/**
 * From the server's cache: thousands of hosts that start at one moment must not make it read tens of megabytes from etcd
 * each. Only if the cache is older than the version `known` already, the newest is requested, in pages. Throws StoreError;
 * COMPACTED if the server dropped the listing between two pages.
 */
async function listNodes<Node>(
  source: NodeSource<Node>,
  known: string | undefined,
  signal: AbortSignal,
): Promise<Listing<Node>> {
  const listing = await readPages(source, { resourceVersion: "0" }, signal);
  const isOld = known !== undefined && isEarlier(listing.version, known);
  return isOld ? readPages(source, {}, signal) : listing;
}

/** All nodes at this moment. Throws StoreError. */
export async function listNewestNodes<Node>(
  source: NodeSource<Node>,
  signal: AbortSignal,
): Promise<readonly Node[]> {
  return (await readPages(source, {}, signal)).nodes;
}

async function readPages<Node>(
  { client, read, nodeName }: NodeSource<Node>,
  which: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Listing<Node>> {
  const nodes: Node[] = [];
  const take = (reader: JsonReader) => {
    const { node } = read(reader);
    if (node !== undefined) nodes.push(node);
  };
  let position = which;
  for (;;) {
    const query = { ...selectorOf(nodeName), limit: String(PAGE_SIZE), ...position };
    const body = await client.open({ verb: "list", resource: "nodes", query }, signal);
    const { version, next } = await readList(body, take);
    if (next === "") return { nodes, version };
    position = { continue: next };
  }
}

async function openWatch<Node>(
  source: NodeSource<Node>,
  version: string,
  random: () => number,
  signal: AbortSignal,
): Promise<AsyncGenerator<WatchEvent<Node>, void>> {
  const { watchMs, watchSilenceMs } = source.timings;
  // With jitter: not all hosts at one time.
  const lifeMs = watchMs * (1 + random());
  const body = await source.client.open(
    {
      verb: "watch",
      resource: "nodes",
      query: {
        ...selectorOf(source.nodeName),
        resourceVersion: version,
        allowWatchBookmarks: "true",
        timeoutSeconds: String(Math.ceil(lifeMs / 1000)),
      },
    },
    signal,
  );
  body.patienceMs = lifeMs + WATCH_MARGIN_MS;
  return readEvents(body, source.read, watchSilenceMs);
}

const selectorOf = (nodeName: string | undefined): Record<string, string> =>
  nodeName === undefined ? {} : { fieldSelector: `metadata.name=${nodeName}` };

/**
 * Whether a version is before another. They are increasing numbers (KEP-5504); where a server has others, their order is
 * unknown.
 */
const isEarlier = (version: string, than: string): boolean =>
  /^\d+$/.test(version) && /^\d+$/.test(than) && BigInt(version) < BigInt(than);
