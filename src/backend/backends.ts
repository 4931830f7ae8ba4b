/** The backends there are, by the `Type` of the network config. A new backend is one file and one line here. */

import { ConfigError } from "../base/error.ts";
import type { BackendFactory } from "./backend.ts";
import { hostGw } from "./host-gw.ts";
import { udp } from "./udp.ts";
import { vxlan } from "./vxlan.ts";

const FACTORIES: readonly BackendFactory[] = [vxlan, hostGw, udp];

/** Backends of Go flannel that are still to come. */
const NOT_YET = [
  "wireguard",
  "ipip",
  "ipsec",
  "alloc",
  "extension",
  "aws-vpc",
  "gce",
  "ali-vpc",
  "tencent-vpc",
];

/** The backend of this type (any case). Throws ConfigError naming those there are. */
export function findBackend(type: string): BackendFactory {
  const lower = type.toLowerCase();
  const factory = FACTORIES.find((candidate) => candidate.type === lower);
  if (factory !== undefined) return factory;
  const available = FACTORIES.map((candidate) => candidate.type).join(", ");
  const what = NOT_YET.includes(lower) ? "is not supported by this version yet" : "is not known";
  throw new ConfigError(
    `network config: Backend.Type "${type.slice(0, 40)}" ${what}; use one of: ${available}`,
  );
}
