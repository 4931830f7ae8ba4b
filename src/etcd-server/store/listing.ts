/** The Range request: filters, sorting and limit over a listing, as etcd applies them (apply.go, applyV3.Range). */

import { type RangeRequest, RangeRequest_SortOrder, RangeRequest_SortTarget } from "../../etcd-api/rpc_pb.ts";
import { rangeOf } from "../protocol/keys.ts";
import { type KeyRecord, withoutValue } from "../protocol/wire.ts";
import type { Keyspace } from "./keyspace.ts";

export interface RangeResult {
  readonly records: readonly KeyRecord[];
  readonly more: boolean;
  /** Number of keys in the range, regardless of filters and limit. */
  readonly count: number;
}

/** Runs a Range request. Throws RpcError: compacted, future revision. */
export function runRange(keyspace: Keyspace, request: RangeRequest): RangeResult {
  const limit = request.limit > 0n ? Number(request.limit) : Number.POSITIVE_INFINITY;
  const filter = filterOf(request);
  const isWhole = filter !== undefined || request.sortOrder !== RangeRequest_SortOrder.NONE;
  const listing = keyspace.list(rangeOf(request.key, request.rangeEnd), {
    revision: Number(request.revision),
    limit: isWhole ? Number.POSITIVE_INFINITY : limit + 1, // one more shows whether there are more
    countOnly: request.countOnly,
  });
  const filtered = filter === undefined ? listing.records : listing.records.filter(filter);
  const sorted = sortRecords(filtered, request.sortTarget, request.sortOrder);
  const more = sorted.length > limit;
  const limited = more ? sorted.slice(0, limit) : sorted;
  return {
    records: request.keysOnly ? limited.map(withoutValue) : limited,
    more,
    count: listing.count,
  };
}

function filterOf(request: RangeRequest): ((record: KeyRecord) => boolean) | undefined {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  if (
    minModRevision === 0n &&
    maxModRevision === 0n &&
    minCreateRevision === 0n &&
    maxCreateRevision === 0n
  ) {
    return undefined;
  }
  return ({ modRevision, createRevision }) =>
    (maxModRevision === 0n || modRevision <= maxModRevision) &&
    (minModRevision === 0n || modRevision >= minModRevision) &&
    (maxCreateRevision === 0n || createRevision <= maxCreateRevision) &&
    (minCreateRevision === 0n || createRevision >= minCreateRevision);
}

type Comparison = (a: KeyRecord, b: KeyRecord) => number;

const COMPARISONS: Readonly<Record<RangeRequest_SortTarget, Comparison>> = {
  [RangeRequest_SortTarget.KEY]: (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0),
  [RangeRequest_SortTarget.VERSION]: (a, b) => a.version - b.version,
  [RangeRequest_SortTarget.CREATE]: (a, b) => a.createRevision - b.createRevision,
  [RangeRequest_SortTarget.MOD]: (a, b) => a.modRevision - b.modRevision,
  [RangeRequest_SortTarget.VALUE]: (a, b) => Buffer.compare(a.value, b.value),
};

/** No order means by key; another target without an order is ascending. */
function sortRecords(
  records: readonly KeyRecord[],
  target: RangeRequest_SortTarget,
  order: RangeRequest_SortOrder,
): readonly KeyRecord[] {
  const isDescending = order === RangeRequest_SortOrder.DESCEND;
  if (target === RangeRequest_SortTarget.KEY && !isDescending) return records;
  const compare = COMPARISONS[target] ?? COMPARISONS[RangeRequest_SortTarget.KEY];
  return records.toSorted(isDescending ? (a, b) => compare(b, a) : compare);
}
