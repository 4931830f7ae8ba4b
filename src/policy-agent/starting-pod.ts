/** What the CNI plugin reports of a starting pod (cni/pod-policy.ts): one line of JSON, checked before it is used. */

import { formatIp, parseIp } from "../address/ip.ts";
import { isObject } from "../config/json-members.ts";

/** A pod that starts with these addresses. */
export interface StartingPod {
  readonly namespace: string;
  readonly name: string;
  /** As the runtime knows it; empty = unknown. */
  readonly uid: string;
  /** As `formatIp` writes them; at least one. */
  readonly addresses: readonly string[];
}

/** A host has a handful of addresses for one interface. */
const MAX_ADDRESSES = 16;
/** Names in Kubernetes (RFC 1123 subdomains), and UIDs. */
const NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const UID = /^[-A-Za-z0-9]{0,128}$/;

/** The pod, or what is wrong with the line. */
export function parseStartingPod(line: string): StartingPod | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "the request is no JSON";
  }
  const { namespace, name, uid = "", addresses } = isObject(value) ? value : {};
  if (typeof namespace !== "string" || !NAME.test(namespace)) return "namespace is no name of a namespace";
  if (typeof name !== "string" || !NAME.test(name)) return "name is no name of a pod";
  if (typeof uid !== "string" || !UID.test(uid)) return "uid is no UID of a pod";
  if (!Array.isArray(addresses) || addresses.length === 0 || addresses.length > MAX_ADDRESSES)
    return `addresses is no list of 1 to ${MAX_ADDRESSES} addresses`;
  const ips = addresses.map((address) => (typeof address === "string" ? parseIp(address) : undefined));
  if (ips.includes(undefined)) return "addresses has something that is no IP address";
  return { namespace, name, uid, addresses: [...new Set(ips.map((ip) => formatIp(ip!)))] };
}
