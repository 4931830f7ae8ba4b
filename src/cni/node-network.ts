/** What flanneld tells the plugin in subnet.env, or why it has not. */

import { readFileSync } from "node:fs";
import type { Prefix } from "../address/prefix.ts";
import { hasCode, messageOf } from "../base/error.ts";
import { listNetworks, parseSubnetEnv } from "../config/subnet-env.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";

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

/** Reads the file. Throws CniError with TRY_AGAIN_LATER if flanneld has yet to write it. */
export function readSubnetFile(path: string): NodeNetwork {
  const text = readText(path);
  const { subnets, mtuBytes, ipMasq, missing, invalid } = parseSubnetEnv(text);
  if (missing.length > 0) throw incomplete(`${path} is missing ${missing.join(", ")}`);
  if (mtuBytes === undefined || ipMasq === undefined || invalid.length > 0) {
    throw incomplete(`${path} has values that make no sense for ${invalid.join(", ")}`);
  }
  return {
    networks: listNetworks(text),
    subnets: [subnets.ipv4, subnets.ipv6].filter((subnet) => subnet !== undefined),
    mtuBytes,
    ipMasq,
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) {
      throw new CniError(
        CNI_CODE.tryAgainLater,
        `flanneld has not written ${path} yet: is flanneld running on this node? It writes the file as soon as it has ` +
          "the node's subnet; until then its log says what it waits for",
      );
    }
    throw new CniError(CNI_CODE.io, `cannot read subnet.env: ${messageOf(error)}`, "", { cause: error });
  }
}

const incomplete = (fault: string): CniError =>
  new CniError(
    CNI_CODE.tryAgainLater,
    `${fault}: flanneld writes all of it at once; restart flanneld on this node, and look for what else writes this file`,
  );
