/**
 * One flanneld for each network and device in a network namespace: two would undo each other's work, also where one network
 * contains the other. Waits while another
 * one has them, as it does for a moment when a pod or unit is replaced.
 */

import { formatPrefix, overlaps, type Prefix, parsePrefix } from "../address/prefix.ts";
import { FlannelError } from "../base/error.ts";
import { type RetryPorts, retry } from "../base/retry.ts";
import type { NetworkFamilies } from "../config/network-config.ts";

/** How soon a network is taken over after the other flanneld has ended. */
const RETRY_MS = 200;

/** Names that one process at a time can hold in a network namespace. They end with the process. */
export interface NameClaims {
  /** Undefined = claimed, else the holder: "process 812". */
  claim(name: string): string | undefined;
  /** Names with this beginning that other processes hold. */
  othersNames(beginning: string): readonly string[];
  release(name: string): void;
}

const NETWORKS = "flanneld/network/";
const networkName = (network: Prefix): string => `${NETWORKS}${formatPrefix(network)}`;
const deviceName = (device: string): string => `flanneld/device/${device}`;

/** Claims the network's prefixes and devices, with retries; false if aborted before. */
export async function claimNetwork(
  network: NetworkFamilies,
  devices: readonly string[],
  claims: NameClaims,
  signal: AbortSignal,
  ports: RetryPorts,
  onProblem: (problem: string | undefined) => void,
): Promise<boolean> {
  const prefixes = [network.ipv4?.network, network.ipv6?.network].filter((prefix) => prefix !== undefined);
  const wanted = [
    ...prefixes.map((prefix) => ({ name: networkName(prefix), what: `network ${formatPrefix(prefix)}` })),
    ...devices.map((device) => ({ name: deviceName(device), what: `device ${device}` })),
  ];
  const done = await retry(
    {
      failure: "Another flanneld runs in this network namespace",
      async attempt() {
        const refuse = (holder: string, what: string): never => {
          // not held while it waits: of two that start at once, each would wait for the other
          for (const { name } of wanted) claims.release(name);
          throw new FlannelError(
            "EBUSY",
            `${holder} programs ${what}: stop it, or give each flanneld a network, a VNI and a --subnet-file of its own`,
          );
        };
        for (const { name, what } of wanted) {
          const holder = claims.claim(name);
          if (holder !== undefined) refuse(holder, what);
        }
        for (const prefix of prefixes) {
          const other = findOverlap(prefix, claims);
          if (other !== undefined)
            refuse(other.holder, `network ${other.network}, which overlaps ${formatPrefix(prefix)}`);
        }
        return true;
      },
      recovered: "The other flanneld has ended; taking over its network",
      ...{ pauseMs: RETRY_MS, level: "warn" as const, signal, onProblem },
    },
    ports,
  );
  return done === true;
}

/** Another process that has a network with addresses of this one. */
function findOverlap(
  network: Prefix,
  claims: NameClaims,
): { readonly holder: string; readonly network: string } | undefined {
  for (const name of claims.othersNames(NETWORKS)) {
    const text = name.slice(NETWORKS.length);
    const other = parsePrefix(text);
    if (other === undefined || other.family !== network.family || !overlaps(other, network)) continue;
    const holder = claims.claim(name);
    if (holder !== undefined) return { holder, network: text };
    claims.release(name); // its process has ended in this moment
  }
  return undefined;
}

/** Those of these former networks that no other flanneld programs now; they are claimed until {@link releaseNetworks}. */
export const claimFree = (networks: readonly Prefix[], claims: NameClaims): Prefix[] =>
  networks.filter((network) => claims.claim(networkName(network)) === undefined);

export function releaseNetworks(networks: readonly Prefix[], claims: NameClaims): void {
  for (const network of networks) claims.release(networkName(network));
}
