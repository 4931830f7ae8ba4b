/**
 * Leases as text: the key under `subnets/` and the JSON value, byte for byte as Go flannel writes them, so that both
 * implementations share one datastore.
 *
 * Values come from outside: sizes, types and nesting are checked, and what is malformed is returned as a problem, not
 * thrown.
 */

import { formatIp, type Ip, parseIp } from "../address/ip.ts";
import { baseOf, type Prefix, parsePrefix } from "../address/prefix.ts";
import { isShallow, readMember } from "../config/json-members.ts";
import type { Lease, LeaseAttributes, SubnetPair } from "./lease.ts";

/** Largest value that is parsed, in UTF-16 units. A real one has about 200. */
const MAX_VALUE_LENGTH = 64 * 1024;
/** Deepest nesting of the backend's own data. A real one has 1. */
const MAX_DATA_DEPTH = 16;
/** How Go flannel writes the IPv4 half of the key of a lease that has only IPv6. */
const NO_IPV4_KEY = "0.0.0.0-0";
/** How Go flannel writes the IPv4 address of a host that has only IPv6. */
const NO_IPV4_ADDRESS = "0.0.0.0";

const KEY = /^(\d+\.\d+\.\d+\.\d+-\d+)(?:&([a-f\d:]+-\d+))?$/;

/** What is wrong with a key or a value, as the end of a sentence. */
export interface Problem {
  readonly problem: string;
}

/** Whether a decoder's result is a problem. */
export const isProblem = (answer: object): answer is Problem => "problem" in answer;

/** The key of a lease: "10.5.52.0-24", "10.5.52.0-24&fc00:0:0:34::-64", "0.0.0.0-0&fc00:0:0:34::-64". */
export function encodeLeaseKey(subnets: SubnetPair): string {
  const ipv4 = subnets.ipv4 === undefined ? NO_IPV4_KEY : encodeHalf(subnets.ipv4);
  return subnets.ipv6 === undefined ? ipv4 : `${ipv4}&${encodeHalf(subnets.ipv6)}`;
}

/** The subnets that a key names. Host bits must be zero. */
export function decodeLeaseKey(key: string): SubnetPair | Problem {
  const match = KEY.exec(key);
  if (match === null) return { problem: "the key is not a subnet like 10.5.52.0-24" };
  const ipv4 = match[1] === NO_IPV4_KEY && match[2] !== undefined ? undefined : decodeHalf(match[1]!);
  const ipv6 = match[2] === undefined ? undefined : decodeHalf(match[2]);
  if (ipv4 === null || ipv6 === null)
    return { problem: "the key is not a subnet: address, length or host bits are wrong" };
  return { ipv4, ipv6 };
}

/** The JSON value of a lease, members in Go flannel's order. */
export function encodeLeaseValue(attributes: LeaseAttributes): string {
  const { publicIp, publicIpv6, backendType, backendData, backendV6Data } = attributes;
  const json = JSON.stringify({
    PublicIP: publicIp === undefined ? NO_IPV4_ADDRESS : formatIp(publicIp),
    PublicIPv6: publicIpv6 === undefined ? null : formatIp(publicIpv6),
    BackendType: backendType === "" ? undefined : backendType,
    BackendData: backendData,
    BackendV6Data: backendV6Data,
  });
  // Go's encoding/json escapes these inside strings, and JSON has them nowhere else.
  return json.replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The attributes in a value. */
export function decodeLeaseValue(text: string): LeaseAttributes | Problem {
  if (text.length > MAX_VALUE_LENGTH)
    return { problem: `the value is longer than ${MAX_VALUE_LENGTH} characters` };
  let members: unknown;
  try {
    members = JSON.parse(text);
  } catch {
    return { problem: "the value is not JSON" };
  }
  if (typeof members !== "object" || members === null || Array.isArray(members)) {
    return { problem: "the value is not a JSON object" };
  }
  const read = (name: string) => readMember(members as Record<string, unknown>, name);
  const publicIp = decodeAddress(read("PublicIP"), 4);
  const publicIpv6 = decodeAddress(read("PublicIPv6"), 6);
  if (publicIp === null) return { problem: "PublicIP is not an IPv4 address" };
  if (publicIpv6 === null) return { problem: "PublicIPv6 is not an IPv6 address" };
  if (publicIp === undefined && publicIpv6 === undefined)
    return { problem: "there is neither PublicIP nor PublicIPv6" };
  const backendType = read("BackendType") ?? "";
  if (typeof backendType !== "string") return { problem: "BackendType is not a string" };
  const backendData = read("BackendData");
  const backendV6Data = read("BackendV6Data");
  if (!isShallow(backendData, MAX_DATA_DEPTH) || !isShallow(backendV6Data, MAX_DATA_DEPTH)) {
    return { problem: `the backend's data is nested deeper than ${MAX_DATA_DEPTH} levels` };
  }
  return { publicIp, publicIpv6, backendType, backendData, backendV6Data };
}

/** A lease from its key and value. */
export function decodeLease(key: string, value: string): Lease | Problem {
  const subnets = decodeLeaseKey(key);
  if (isProblem(subnets)) return subnets;
  const attributes = decodeLeaseValue(value);
  return isProblem(attributes) ? attributes : { key, subnets, attributes };
}

const encodeHalf = (prefix: Prefix): string => `${formatIp(baseOf(prefix))}-${prefix.length}`;

/** Null = not a prefix, or with host bits. */
function decodeHalf(text: string): Prefix | null {
  const dash = text.lastIndexOf("-");
  const address = parseIp(text.slice(0, dash));
  const prefix = parsePrefix(`${text.slice(0, dash)}/${text.slice(dash + 1)}`);
  return address === undefined || prefix === undefined || prefix.base !== address.value ? null : prefix;
}

/** Undefined = absent, null = malformed. */
function decodeAddress(value: unknown, family: Ip["family"]): Ip | undefined | null {
  if (value === undefined || value === "") return undefined;
  const ip = typeof value === "string" ? parseIp(value) : undefined;
  if (ip === undefined || ip.family !== family) return null;
  return ip.value === 0n ? undefined : ip;
}
