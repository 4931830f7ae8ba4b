/** Passes of the reconciler: what one of them did, and in which order the providers are called. */

import { describeObject, type StateOperation } from "./objects.ts";
import type { Provider } from "./provider.ts";

/** One pass of the reconciler, for readers that count. */
export interface Pass {
  readonly tookMs: number;
  /** What was tried, and what of it succeeded. */
  readonly tried: readonly StateOperation[];
  readonly done: readonly StateOperation[];
}

/** Cuts `operations` where the provider changes: their order stays. */
export function* runsOf(
  operations: readonly StateOperation[],
  providers: readonly Provider[],
): Generator<readonly [Provider, StateOperation[]]> {
  const providerOf = ({ object }: StateOperation) => providers.find(({ kinds }) => kinds.has(object.kind));
  for (let first = 0; first < operations.length; ) {
    const provider = providerOf(operations[first]!);
    if (provider === undefined)
      throw new Error(`no provider holds objects of kind ${operations[first]!.object.kind}`);
    let end = first + 1;
    while (end < operations.length && provider.kinds.has(operations[end]!.object.kind)) end++;
    yield [provider, operations.slice(first, end)];
    first = end;
  }
}

const NAMED = 3;

/** "create route 10.5.2.0/24 …; … and 7 more", for the log. */
export function summarize(operations: readonly StateOperation[]): string {
  const named = operations
    .slice(0, NAMED)
    .map(({ action, object }) => `${action} ${describeObject(object)}`)
    .join("; ");
  return operations.length > NAMED ? `${named} and ${operations.length - NAMED} more` : named;
}
