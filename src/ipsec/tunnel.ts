/** The tunnels that charon's answer to list-sas shows (strongSwan, src/libcharon/plugins/vici/README.md, “list-sa”). */

import type { ViciSection } from "./vici.ts";

/** The tunnel to one peer's subnet. */
export interface Tunnel {
  /** missing: charon neither has it nor works on it. */
  readonly state: "established" | "connecting" | "missing";
  /** Of the newest security association; undefined unless established. */
  readonly association?: Association;
}

/** What charon says about a security association. */
interface Association {
  /** "AES_GCM_16-128". */
  readonly cipher: string;
  readonly isInUdp: boolean;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly ageSeconds: number;
}

export const MISSING: Tunnel = { state: "missing" };

/** By name of the connection. What charon says about others is there too, malformed parts are left out. */
export function tunnelsOf(events: readonly ViciSection[]): ReadonlyMap<string, Tunnel> {
  const tunnels = new Map<string, Tunnel>();
  for (const event of events) {
    for (const [name, sa] of Object.entries(event)) {
      const installed = sectionsOf(sectionOf(sa)?.["child-sas"]).filter(({ state }) => state === "INSTALLED");
      const newest = installed.map(associationOf).sort((a, b) => a.ageSeconds - b.ageSeconds)[0];
      if (newest !== undefined) tunnels.set(name, { state: "established", association: newest });
      else if (sectionOf(sa) !== undefined && !tunnels.has(name)) tunnels.set(name, { state: "connecting" });
    }
  }
  return tunnels;
}

function associationOf(child: ViciSection): Association {
  const [cipher, keySize] = [textOf(child["encr-alg"]), textOf(child["encr-keysize"])];
  return {
    cipher: [cipher, keySize].filter(Boolean).join("-"),
    isInUdp: child.encap === "yes",
    sentBytes: numberOf(child["bytes-out"]),
    receivedBytes: numberOf(child["bytes-in"]),
    ageSeconds: numberOf(child["install-time"]),
  };
}

type Value = ViciSection[string] | undefined;

const sectionOf = (value: Value): ViciSection | undefined =>
  typeof value === "object" && !Array.isArray(value) ? (value as ViciSection) : undefined;

const sectionsOf = (value: Value): ViciSection[] =>
  Object.values(sectionOf(value) ?? {})
    .map(sectionOf)
    .filter((section) => section !== undefined);

const textOf = (value: Value): string => (typeof value === "string" ? value.slice(0, 40) : "");

function numberOf(value: Value): number {
  const number = Number(textOf(value));
  return Number.isSafeInteger(number) && number >= 0 ? number : 0;
}
