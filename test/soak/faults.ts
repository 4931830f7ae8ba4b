/** All faults, and the order in which a seed injects them. */

import type { Chance } from "../../src/testing/random-packets.ts";
import type { BackendName } from "./bed.ts";
import type { Fault } from "./fault.ts";
import { INTERFACE_FAULTS } from "./interface-faults.ts";
import { KERNEL_FAULTS } from "./kernel-faults.ts";
import { PROCESS_FAULTS } from "./process-faults.ts";
import { STORE_FAULTS } from "./store-faults.ts";

const FAULTS: readonly Fault[] = [...PROCESS_FAULTS, ...KERNEL_FAULTS, ...INTERFACE_FAULTS, ...STORE_FAULTS];

/** The faults that the backend can have. */
export const faultsOf = (backend: BackendName): Fault[] =>
  FAULTS.filter(({ backends }) => backends === undefined || backends.includes(backend));

/** Without end: all faults in a random order, and again in another. */
export function* shuffled(faults: readonly Fault[], chance: Chance): Generator<Fault, never> {
  for (;;) {
    const rest = [...faults];
    while (rest.length > 0) yield rest.splice(chance.below(rest.length), 1)[0]!;
  }
}
