/**
 * The lease of this host: Kubernetes assigns the subnets; flanneld writes the annotations by which peers reach the host, and
 * restores them when they are changed or removed (W39): without them flannel does not manage the node.
 */

import { parsePrefix } from "../../address/prefix.ts";
import { isNotFound, StoreError } from "../../base/error.ts";
import { sleep } from "../../base/timers.ts";
import { includesSubnets, type Lease, type LeaseAttributes, type OwnLease } from "../lease.ts";
import { isProblem } from "../lease-codec.ts";
import type { AcquireRequest } from "../lease-store.ts";
import type { OutagePorts } from "../outage.ts";
import { type HostIdentity, hasSameIdentity } from "../ownership.ts";
import type { Annotation, AnnotationNames } from "./annotations.ts";
import { FIELD_MANAGER } from "./api-client.ts";
import type { KubeTimings } from "./kube-options.ts";
import { annotationsOf, attributesOf, missingAnnotations, subnetsOf, usableSubnets } from "./node-lease.ts";
import type { NodeRecord, OwnNodeRecord } from "./node-record.ts";
import type { OwnNode } from "./own-node.ts";
import { createContest, FREE_ROUNDS, persist } from "./persist.ts";

/** What the holder works with. */
export interface OwnLeaseParts {
  readonly node: OwnNode;
  readonly names: AnnotationNames;
  readonly timings: KubeTimings;
  readonly ports: OutagePorts;
  /** All leases at this moment. Throws StoreError. */
  readonly listLeases: () => Promise<readonly Lease[]>;
  /** Ends all waiting. */
  readonly signal: AbortSignal;
}

/** Acquires the lease once and then keeps its annotations until `signal` is aborted. Throws StoreError. */
export class OwnLeaseHolder {
  readonly #parts: OwnLeaseParts;
  #held: OwnLease | undefined;
  #keeping: Promise<void> | undefined;
  #repairs = 0;

  constructor(parts: OwnLeaseParts) {
    this.#parts = parts;
  }

  /** How often the annotations were written again. */
  get repairs(): number {
    return this.#repairs;
  }

  /** See LeaseStore. Waits for the node's podCIDRs, for a minute at most: then the caller may have another network (W40). */
  async acquire({
    network,
    attributes: given,
    identity,
    signal: callers,
    onWait,
  }: AcquireRequest): Promise<OwnLease> {
    const { node, timings, ports } = this.#parts;
    const signal =
      callers === undefined ? this.#parts.signal : AbortSignal.any([callers, this.#parts.signal]);
    const endMs = ports.timers.nowMs() + timings.waitReportMs;
    let logged: string | undefined;
    for (;;) {
      const seen = node.changes;
      const record = await node.read().catch(throwUnlessGone);
      const subnets =
        record instanceof StoreError ? { problem: record.message } : usableSubnets(record, network);
      if (!(record instanceof StoreError) && !isProblem(subnets)) {
        const attributes = await this.#distinct(record, given, identity);
        return this.#hold(record, { key: record.name, subnets, attributes, expiresAtMs: undefined });
      }
      const { problem } = subnets as { problem: string };
      const reason = record instanceof StoreError ? problem : `node ${record.name} ${problem}`;
      if (reason !== logged) {
        ports.logger.warn(`Waiting for a subnet: ${reason}`);
        onWait?.(reason);
        logged = reason;
      }
      await this.#changeOrTimeout(seen, endMs - ports.timers.nowMs(), signal);
      if (signal.aborted || ports.timers.nowMs() >= endMs) throw new StoreError("UNAVAILABLE", reason);
    }
  }

  /** See LeaseStore. */
  async renew(lease: OwnLease, attributes: LeaseAttributes): Promise<OwnLease> {
    const record = await this.#parts.node.read().catch(throwUnlessGone);
    if (record instanceof StoreError) throw new StoreError("LEASE_LOST", record.message, { cause: record });
    const subnets = subnetsOf(record);
    const isSame =
      record.name === lease.key && !isProblem(subnets) && includesSubnets(subnets, lease.subnets);
    if (!isSame) {
      const now = record.podCidrs.join(", ") || "none";
      throw new StoreError("LEASE_LOST", `the podCIDRs of node ${record.name} are others now: ${now}`);
    }
    return this.#hold(record, { ...lease, attributes });
  }

  /** A node as peers should see it: the own one with what this host publishes, also while that is changed or removed. */
  asHeld(node: NodeRecord): NodeRecord {
    const held = this.#held;
    if (held === undefined || held.key !== node.name) return node;
    const families = [held.subnets.ipv4, held.subnets.ipv6].flatMap((subnet) => subnet?.family ?? []);
    const annotations = Object.entries(annotationsOf(held.attributes)).filter(([, value]) => value !== null);
    return {
      name: node.name,
      podCidrs: node.podCidrs.filter((cidr) => families.includes(parsePrefix(cidr)?.family ?? 4)),
      annotations: Object.fromEntries(annotations),
      createdAtMs: node.createdAtMs,
    };
  }

  /** Resolves when no request is in progress. */
  async ended(): Promise<void> {
    await this.#keeping;
  }

  /**
   * What this host publishes, with a VTEP of its own: a cloned machine starts with the MAC of the original. A MAC that this
   * node published already, or that was drawn just now, needs no listing of the nodes.
   */
  async #distinct(
    record: OwnNodeRecord,
    attributes: LeaseAttributes,
    identity: HostIdentity | undefined,
  ): Promise<LeaseAttributes> {
    if (identity === undefined || !identity.isKept) return attributes;
    const published = attributesOf(record);
    if (!isProblem(published) && hasSameIdentity(published, attributes)) return attributes;
    const leases = await this.#parts.listLeases();
    const isShared = leases.some(
      (lease) => lease.key !== record.name && hasSameIdentity(lease.attributes, attributes),
    );
    return isShared ? identity.replace() : attributes;
  }

  async #hold(record: OwnNodeRecord, lease: OwnLease): Promise<OwnLease> {
    // First: what the watch shows from now on is compared with it.
    this.#held = lease;
    await this.#write(missingAnnotations(record, annotationsOf(lease.attributes)));
    this.#keeping ??= this.#keep();
    return lease;
  }

  async #write(annotations: Partial<Record<Annotation, string | null>>): Promise<void> {
    const { node, names } = this.#parts;
    const named = Object.entries(annotations).map(([annotation, value]) => [
      names[annotation as Annotation],
      value,
    ]);
    if (named.length > 0) await node.patch({ metadata: { annotations: Object.fromEntries(named) } });
  }

  async #keep(): Promise<void> {
    const { node, timings, ports, signal } = this.#parts;
    const contest = createContest(timings.contestMaxMs, ports.timers);
    let seen = -1;
    while (!signal.aborted) {
      await node.changedSince(seen, signal);
      seen = node.changes; // a change meanwhile is handled in the next round
      const { record } = node;
      if (record === undefined || this.#missingIn(record).length === 0) continue;
      let isAnswering = false;
      await persist(
        `write the annotations of node ${record.name} again`,
        async () => {
          // The watch may be behind the own write: only the node as it is now counts.
          const now = await node.read().catch(throwUnlessGone);
          if (now instanceof StoreError || this.#missingIn(now).length === 0) return;
          if (!isAnswering) {
            isAnswering = true;
            const { round, pauseMs } = contest.next();
            this.#logRepair(now, round);
            await sleep(ports.timers, pauseMs, signal);
            if (signal.aborted) return;
          }
          await this.#write(missingAnnotations(now, annotationsOf(this.#held!.attributes)));
          this.#repairs++;
        },
        timings,
        ports,
        signal,
      );
    }
  }

  #missingIn(record: NodeRecord): Annotation[] {
    const held = this.#held!;
    return Object.keys(missingAnnotations(record, annotationsOf(held.attributes))) as Annotation[];
  }

  #logRepair(record: OwnNodeRecord, round: number): void {
    const { names, ports } = this.#parts;
    const changed = this.#missingIn(record).map((annotation) => names[annotation]);
    const [were, them] = changed.length === 1 ? ["was", "it"] : ["were", "them"];
    const text = `${changed.join(", ")} of node ${record.name} ${were} changed or removed${whoWrote(record, changed)}`;
    if (round === 1) ports.logger.warn(`${text}; writing ${them} again`);
    else if (round <= FREE_ROUNDS) ports.logger.debug(`${text}; writing ${them} again`);
    else if (round === FREE_ROUNDS + 1) {
      ports.logger.warn(
        `${text} repeatedly; writing ${them} again at growing intervals; find the writer ` +
          `(kubectl get node ${record.name} -o yaml --show-managed-fields)`,
      );
    }
  }

  async #changeOrTimeout(seen: number, timeoutMs: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    await Promise.race([
      this.#parts.node.changedSince(seen, either),
      sleep(this.#parts.ports.timers, Math.max(0, timeoutMs), either),
    ]);
    over.abort();
  }
}

/** " by kubectl-annotate", if known: Kubernetes does not record who removed a field. */
function whoWrote({ writers }: OwnNodeRecord, annotations: readonly string[]): string {
  const others = writers.filter(
    ({ name, fields }) =>
      name !== FIELD_MANAGER &&
      annotations.some((annotation) => fields.includes(JSON.stringify(`f:${annotation}`))),
  );
  return others.length === 0 ? "" : ` by ${[...new Set(others.map(({ name }) => name))].join(", ")}`;
}

/** Returns NOT_FOUND, throws everything else. */
function throwUnlessGone(error: unknown): StoreError {
  if (error instanceof StoreError && isNotFound(error)) return error;
  throw error;
}
