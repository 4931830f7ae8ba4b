/**
 * Objects of one resource, watched without a gap: a listing, then changes from its version on. A broken watch continues from
 * the last version seen, which bookmarks keep recent; when the server no longer has that version (410 Gone), all objects are
 * listed again.
 *
 * Of each object only what `read` picks out of its JSON is kept: thousands of nodes or pods would be tens of megabytes.
 */

import { StoreError } from "../../base/error.ts";
import { createOutage, type OutagePorts } from "../outage.ts";
import { StreamScope, startOver } from "../stream-scope.ts";
import type { ApiClient } from "./api-client.ts";
import type { ApiResource } from "./api-error.ts";
import type { JsonReader } from "./json-reader.ts";
import type { KubeTimings } from "./kube-options.ts";
import { readList } from "./list-reader.ts";
import { type ObjectReader, readEvents, type WatchEvent } from "./watch-events.ts";

/** Objects in one response, where the server supports paging. */
const PAGE_SIZE = 500;
/** How much longer than its time limit a watch may last. */
const WATCH_MARGIN_MS = 30_000;
/** After this many failures in a row without an event, the version that the watch starts from is not trusted. */
const DISTRUST_AFTER = 3;

/** Which objects to watch, over which client, and what to keep of each. */
export interface ObjectSource<Kept> {
  readonly client: ApiClient;
  readonly timings: KubeTimings;
  readonly resource: ApiResource;
  /** "metadata.name=n1"; undefined = all objects. */
  readonly fieldSelector?: string | undefined;
  /** For the log: "the nodes". */
  readonly what: string;
  /** Reads what is kept of an object. */
  readonly read: ObjectReader<Kept>;
}

/** All objects now, or one that was added, changed or deleted. A snapshot replaces everything. */
export type ObjectUpdate<Kept> =
  | { readonly type: "snapshot"; readonly objects: readonly Kept[] }
  | { readonly type: "put" | "delete"; readonly object: Kept };

/** Watches until `signal` is aborted; never throws. */
export async function* watchObjects<Kept>(
  source: ObjectSource<Kept>,
  ports: OutagePorts,
  signal: AbortSignal,
): AsyncGenerator<ObjectUpdate<Kept>, void> {
  const { timings, what } = source;
  const outage = createOutage(`${what} in Kubernetes`, timings, ports, signal);
  /** Undefined = all objects have to be listed. */
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
        const listing = await listObjects(source, known, signal);
        version = listing.version;
        known = version;
        yield { type: "snapshot", objects: listing.objects };
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
        const { type, object } = event;
        if (object !== undefined) yield { type, object };
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

interface Listing<Kept> {
  readonly objects: Kept[];
  readonly version: string;
}

/**
 * From the server's cache: thousands of hosts that start at one moment must not make it read tens of megabytes from etcd
 * each. Only if the cache is older than the version `known` already, the newest is requested, in pages. Throws StoreError;
 * COMPACTED if the server dropped the listing between two pages.
 */
async function listObjects<Kept>(
  source: ObjectSource<Kept>,
  known: string | undefined,
  signal: AbortSignal,
): Promise<Listing<Kept>> {
  const listing = await readPages(source, { resourceVersion: "0" }, signal);
  const isOld = known !== undefined && isEarlier(listing.version, known);
  return isOld ? readPages(source, {}, signal) : listing;
}

/** All objects at this moment. Throws StoreError. */
export async function listNewestObjects<Kept>(
  source: ObjectSource<Kept>,
  signal: AbortSignal,
): Promise<readonly Kept[]> {
  return (await readPages(source, {}, signal)).objects;
}

async function readPages<Kept>(
  { client, resource, read, fieldSelector }: ObjectSource<Kept>,
  which: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Listing<Kept>> {
  const objects: Kept[] = [];
  const take = (reader: JsonReader) => {
    const { object } = read(reader);
    if (object !== undefined) objects.push(object);
  };
  let position = which;
  for (;;) {
    const query = { ...selectorOf(fieldSelector), limit: String(PAGE_SIZE), ...position };
    const body = await client.open({ verb: "list", resource, query }, signal);
    const { version, next } = await readList(body, take, resource);
    if (next === "") return { objects, version };
    position = { continue: next };
  }
}

async function openWatch<Kept>(
  source: ObjectSource<Kept>,
  version: string,
  random: () => number,
  signal: AbortSignal,
): Promise<AsyncGenerator<WatchEvent<Kept>, void>> {
  const { watchMs, watchSilenceMs } = source.timings;
  // With jitter: not all hosts at one time.
  const lifeMs = watchMs * (1 + random());
  const body = await source.client.open(
    {
      verb: "watch",
      resource: source.resource,
      query: {
        ...selectorOf(source.fieldSelector),
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

const selectorOf = (fieldSelector: string | undefined): Record<string, string> =>
  fieldSelector === undefined ? {} : { fieldSelector };

/**
 * Whether a version is before another. They are increasing numbers (KEP-5504); where a server has others, their order is
 * unknown.
 */
const isEarlier = (version: string, than: string): boolean =>
  /^\d+$/.test(version) && /^\d+$/.test(than) && BigInt(version) < BigInt(than);
