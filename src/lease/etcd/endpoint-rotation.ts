/**
 * The endpoints of a cluster, of which one is in use: a request goes to the endpoint that worked last; if that one is down,
 * silent or without a leader, each other one is tried once.
 */

import { StoreError } from "../../base/error.ts";
import { type EtcdFailure, summarize } from "./etcd-error.ts";

/** One member of the cluster. */
interface Endpoint {
  /** Whether it has answered before. */
  hasWorked: boolean;
}

/** Chooses the member for each request. Throws what `describe` makes of the last failure when every member has failed. */
export class EndpointRotation<Member extends Endpoint> {
  readonly members: readonly Member[];
  readonly #describe: (error: unknown, member: Member) => EtcdFailure;
  /** The index of the member that worked last. */
  #current: number;

  /** `members`: at least one; `first`: the index of the one to begin with. */
  constructor(
    members: readonly Member[],
    first: number,
    describe: (error: unknown, member: Member) => EtcdFailure,
  ) {
    this.members = members;
    this.#current = first;
    this.#describe = describe;
  }

  /** Calls `run` with one member after the other until it succeeds. Throws StoreError, which names the failed endpoints. */
  async run<T>(run: (member: Member) => Promise<T>): Promise<T> {
    const failures: EtcdFailure[] = []; // at the index of their member: the message does not depend on where it began
    const start = this.#current;
    let cause: unknown;
    for (let step = 0; step < this.members.length; step++) {
      const index = (start + step) % this.members.length;
      const member = this.members[index]!;
      try {
        const result = await run(member);
        this.#current = index;
        member.hasWorked = true;
        return result;
      } catch (error) {
        if (error instanceof StoreError) throw error;
        cause = error;
        const failure = this.#describe(error, member);
        failures[index] = failure;
        if (!failure.tryNext) throw summarize([failure], error);
      }
    }
    throw summarize(failures, cause); // all of them have failed: no gaps
  }
}
