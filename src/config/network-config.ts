/** The network config of a cluster (SPEC: “Network configuration”): parsed, defaulted and validated. */

import type { Prefix } from "../address/prefix.ts";

/** One family's part of the config. */
export interface FamilyConfig {
  readonly network: Prefix;
  /** Prefix length of every host's subnet. */
  readonly subnetLength: number;
  /** First and last subnet that may be leased. */
  readonly subnetMin: Prefix;
  readonly subnetMax: Prefix;
}

export interface NetworkConfig {
  readonly ipv4: FamilyConfig | undefined;
  readonly ipv6: FamilyConfig | undefined;
  readonly enableNftables: boolean;
  readonly backend: BackendConfig;
  /** Things an operator should read (e.g. "no Backend given: vxlan"), to be logged once by the caller. */
  readonly notes: readonly string[];
}

/** The `Backend` object: its type and its other members, to be read by the backend case-insensitively. */
export interface BackendConfig {
  readonly type: string;
  readonly members: Readonly<Record<string, unknown>>;
}
