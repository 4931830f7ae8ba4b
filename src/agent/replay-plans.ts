/**
 * Replays the planning of a recording: backend and planner get the recorded inputs again, and what they plan is compared with the
 * recorded desired state. A planner that throws, or plans something else, is reported for the entry.
 */

import { formatIp } from "../address/ip.ts";
import type { Backend, HostKeys, NextHopLookup } from "../backend/backend.ts";
import { createBackend } from "../backend/backends.ts";
import { messageOf } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import { createLeaseTable } from "../lease/lease-table.ts";
import type { TargetEntry } from "../recorder/entries.ts";
import { applyInputs, emptyInputs, type PlanInputs, type RecordedConfig } from "../recorder/plan-inputs.ts";
import { describeObject, type State, sameObject } from "../state/objects.ts";
import type { Target } from "../state/target.ts";
import { Planner } from "./planner.ts";

/** One way in which a plan differs from the recorded desired state. */
export interface PlanDifference {
  /** missing: recorded, and not planned again; added: the reverse; changed: planned as `object`, recorded as `recorded`; failed: no plan. */
  readonly what: "missing" | "added" | "changed" | "failed";
  readonly object: string;
  readonly recorded?: string;
}

export class PlanReplay {
  readonly #inputs = emptyInputs();
  readonly #table = createLeaseTable();
  #planner: Planner | undefined;
  #target: Target | undefined;
  #nextHop: NextHopLookup = () => undefined;

  /** Whether the recording has what plans were made from. */
  get hasInputs(): boolean {
    return this.#inputs.config !== undefined;
  }

  /** Why peers cannot be reached, as the latest plan says. */
  get problems(): readonly string[] {
    return this.#planner?.problems ?? [];
  }

  /** Plans with the inputs up to this entry; `recorded` is the desired state after it. */
  step({ inputs, keepOthers }: TargetEntry, recorded: State): PlanDifference[] {
    if (inputs === undefined) return [];
    this.#apply(inputs);
    if (this.#inputs.config === undefined) return [];
    try {
      this.#plan(inputs.config);
    } catch (error) {
      // Whatever it throws is what is looked for.
      return [{ what: "failed", object: messageOf(error) }];
    }
    const differences = compare(this.#target!.state, recorded);
    if (this.#target!.keepOthers === keepOthers) return differences;
    const removal = (keeps: boolean) => (keeps ? "stale objects are kept" : "stale objects are removed");
    return [...differences, { what: "changed", object: removal(!keepOthers), recorded: removal(keepOthers) }];
  }

  #apply(inputs: PlanInputs): void {
    applyInputs(this.#inputs, inputs);
    const { leases, hops } = this.#inputs;
    for (const key of inputs.goneLeases ?? []) this.#table.apply({ type: "delete", key });
    for (const { key } of [...(inputs.leases ?? []), ...(inputs.renewals ?? [])]) {
      const lease = leases.get(key);
      if (lease !== undefined) this.#table.apply({ type: "put", lease });
    }
    if (inputs.hops !== undefined || inputs.goneHops !== undefined)
      this.#nextHop = (ip) => hops.get(formatIp(ip)) ?? undefined;
  }

  #plan(changed: RecordedConfig | undefined): void {
    if (this.#planner === undefined) this.#planner = this.#createPlanner();
    else if (changed !== undefined) {
      const { network, host } = changed;
      this.#planner.change({ network, host, backend: backendOf(changed) });
      return;
    }
    this.#planner.replan();
  }

  #createPlanner(): Planner {
    const config = this.#inputs.config!;
    const own = () => {
      const { own: held } = this.#inputs;
      return held === null ? undefined : { ...held, attributes: NO_ATTRIBUTES, expiresAtMs: undefined };
    };
    return new Planner(
      { network: config.network, host: config.host, backend: backendOf(config) },
      {
        blackholeRoute: config.blackholeRoute,
        own,
        listedOwn: () => this.#table.get(this.#inputs.own?.key ?? ""),
        peers: () => (this.#inputs.isKnown ? this.#table.peers(this.#inputs.own?.key) : undefined),
        sharedIps: () => this.#table.sharedPublicIps(),
        nextHop: () => this.#nextHop,
        setTarget: (target) => {
          this.#target = target;
        },
        logger: silentLogger,
      },
    );
  }
}

const NO_ATTRIBUTES = {
  ...{ publicIp: undefined, publicIpv6: undefined, backendType: "" },
  ...{ backendData: undefined, backendV6Data: undefined },
};

/** The backend with the recorded identity. The recorded config has fingerprints in place of keys. */
function backendOf({ network, published, implementation }: RecordedConfig): Backend {
  const { backendData, backendV6Data } = published;
  const data = (backendData ?? backendV6Data) as { readonly PublicKey?: unknown } | undefined;
  const keys: HostKeys = {
    publicKey: () => String(data?.PublicKey ?? ""),
    registerPresharedKey: (fingerprint) => fingerprint,
    registerSecret: (fingerprint) => fingerprint,
  };
  return createBackend(network, {
    ...{ existing: [], published, keys, randomBytes: (count) => new Uint8Array(count) },
    ...(typeof backendData === "string" ? { startupOutput: backendData } : {}),
    hasKernelWireguard: implementation !== "userspace",
  });
}

function compare(planned: State, recorded: State): PlanDifference[] {
  const differences: PlanDifference[] = [];
  for (const [key, object] of recorded) {
    const other = planned.get(key);
    if (other === undefined) differences.push({ what: "missing", object: describeObject(object) });
    else if (!sameObject(withoutUndefined(other), withoutUndefined(object)))
      differences.push({
        ...{ what: "changed", object: describeObject(other), recorded: describeObject(object) },
      });
  }
  for (const [key, object] of planned)
    if (!recorded.has(key)) differences.push({ what: "added", object: describeObject(object) });
  return differences;
}

/** As JSON has it. */
const withoutUndefined = <T extends object>(object: T): T =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;
