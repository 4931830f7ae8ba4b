/** What a fault is: how it is injected and undone, and which loss is allowed. */

import type { Chance } from "../../src/testing/random-packets.ts";
import type { BackendName, Bed, SoakHost } from "./bed.ts";

/** Where a fault is injected. */
export interface Target {
  readonly bed: Bed;
  /** The host that is to suffer. Packets between the two others may not be lost. */
  readonly host: SoakHost;
  /** One of the others. */
  readonly peer: SoakHost;
  /** For what is chosen at random within a fault. */
  readonly chance: Chance;
}

/**
 * Which packets from and to the host may be lost: at most so many in each direction, or all until `withinMs` after the fault
 * was undone (if it is not undone: after it was injected).
 */
export type Allowance = { readonly packets: number } | { readonly withinMs: number };

/** Ends what was injected. */
type Undo = () => Promise<void>;

export interface Fault {
  readonly name: string;
  /** Default: all. */
  readonly backends?: readonly BackendName[];
  /** It concerns all hosts, not only the one that was chosen. */
  readonly isEverywhere?: true;
  /** Resolves once the fault is there, with what ends it; nothing if flanneld has to repair it alone. */
  inject(target: Target): Promise<Undo | undefined>;
  /** How long the fault stands before it is undone. Default 500. */
  readonly standsMs?: number;
  /** Must appear in /readyz or the log of the host while the fault stands. */
  readonly reported?: RegExp;
  readonly allowed: Allowance | Readonly<Record<BackendName, Allowance>>;
}

/** No packet. */
export const NOTHING: Allowance = { packets: 0 };
/**
 * What is lost until flanneld has reacted to the kernel's notification: 0 to 2 packets (one is sent every 20 ms) on an idle
 * machine, 4 were measured on one that has four times as much to do as it has processors.
 */
export const A_REPAIR: Allowance = { packets: 10 };
/** udp carries packets itself: nothing flows until flanneld is there again. */
export const untilRestarted: Readonly<Record<BackendName, Allowance>> = {
  vxlan: NOTHING,
  "host-gw": NOTHING,
  udp: { withinMs: 6_000 },
};

export const allowanceOf = ({ allowed }: Fault, backend: BackendName): Allowance =>
  "vxlan" in allowed ? allowed[backend] : (allowed as Allowance);

/** A fault that one or more lines of `ip -batch` inject on the host. */
export const ipLines = async ({ host }: Target, ...lines: readonly string[]): Promise<void> => {
  await host.run("ip", ["-batch", "-"], { input: `${lines.join("\n")}\n` });
};
