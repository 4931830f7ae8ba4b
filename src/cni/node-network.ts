/**
 * subnet.env as the plugin needs it. As Go's plugin takes it: one network and one subnet of either family are enough, and
 * FLANNEL_IPMASQ is true if it is exactly "true". A line that Go's would reject with quotes, `export` or a comment is read as
 * a shell reads it, because the same file is sourced by scripts.
 */

import type { Prefix } from "../address/prefix.ts";
import { hasCode, messageOf } from "../base/error.ts";
import { listNetworks, parseSubnetEnv } from "../config/subnet-env.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { System } from "./system.ts";

/** A complete subnet.env. */
export interface NodeNetwork {
  /** All flannel networks, IPv4 first. */
  readonly networks: readonly Prefix[];
  /** The node's subnets, IPv4 first; at least one. */
  readonly subnets: readonly Prefix[];
  readonly mtuBytes: number;
  /** Whether flanneld masquerades. */
  readonly ipMasq: boolean;
}

/** The file of flanneld has less than 1 KB. */
const MAX_BYTES = 64 * 1024;
/** Not of one family. */
const COMMON_NAMES: readonly string[] = ["FLANNEL_MTU", "FLANNEL_IPMASQ"];

/**
 * Reads the file. Throws CniError: code 11 (try again later) if it does not exist or is incomplete, 5 if it cannot be read.
 *
 * @param log takes a line for each half of a pair that is missing
 */
export function readSubnetFile(
  system: System,
  path: string,
  log: (line: string) => void = () => {},
): NodeNetwork {
  const text = readText(system, path);
  const { network, subnets, mtuBytes, ipMasq, missing, invalid } = parseSubnetEnv(text);
  const networks = listNetworks(text);
  const hasPair = networks.length > 0 && (subnets.ipv4 !== undefined || subnets.ipv6 !== undefined);
  const needed = hasPair ? missing.filter((name) => COMMON_NAMES.includes(name)) : missing;
  if (needed.length > 0) throw incomplete(`${path} is missing ${needed.join(", ")}`);
  if (mtuBytes === undefined || ipMasq === undefined || invalid.length > 0) {
    throw incomplete(`${path} has invalid values for ${invalid.join(", ")}`);
  }
  for (const family of ["ipv4", "ipv6"] as const) {
    if ((network[family] === undefined) === (subnets[family] === undefined)) continue;
    const half = network[family] === undefined ? "a subnet but no network" : "a network but no subnet";
    log(
      `${path} has ${half} for ${family === "ipv4" ? "IPv4" : "IPv6"}: does flanneld run with another configuration now?`,
    );
  }
  return {
    networks,
    subnets: [subnets.ipv4, subnets.ipv6].filter((subnet) => subnet !== undefined),
    mtuBytes,
    ipMasq,
  };
}

function readText(system: System, path: string): string {
  try {
    return system.readRegularFile(path, MAX_BYTES);
  } catch (error) {
    if (hasCode(error, "ENOENT")) {
      throw new CniError(
        CNI_CODE.tryAgainLater,
        `flanneld has not written ${path} yet: is flanneld running on this node? It writes the file once it has the ` +
          "node's subnet; until then its log says what it waits for",
      );
    }
    throw new CniError(
      CNI_CODE.io,
      `cannot read subnet.env: ${messageOf(error)}; subnetFile must name the regular file that flanneld writes`,
      "",
      { cause: error },
    );
  }
}

const incomplete = (fault: string): CniError =>
  new CniError(
    CNI_CODE.tryAgainLater,
    `${fault}: flanneld writes the whole file at once; restart flanneld on this node, and find out what else writes this file`,
  );
