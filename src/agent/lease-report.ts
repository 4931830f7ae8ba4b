/** This host's lease as the status server shows it. */

import type { LeaseReport } from "../status/api.ts";
import type { AgentParts } from "./parts.ts";
import { subnetTexts, textsOf } from "./peer-report.ts";

/** Of a lease that is not held, why. */
export function leaseReport({ keeper }: AgentParts): LeaseReport {
  const { own, problem } = keeper;
  return {
    subnets: own === undefined ? [] : subnetTexts(own.subnets),
    publicIps: own === undefined ? [] : textsOf(own.attributes.publicIp, own.attributes.publicIpv6),
    backend: own?.attributes.backendType ?? "",
    ...(own === undefined ? {} : { key: own.key }),
    ...(own?.expiresAtMs === undefined ? {} : expiryOf(own.expiresAtMs)),
    ...(problem === undefined ? {} : { problem }),
  };
}

/** A lease may be granted for longer than dates reach (ECMA-262: 8.64e15 ms). */
const expiryOf = (ms: number): Pick<LeaseReport, "expiresAt"> =>
  Math.abs(ms) <= 8.64e15 ? { expiresAt: new Date(ms).toISOString() } : {};
