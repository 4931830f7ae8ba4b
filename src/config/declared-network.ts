/**
 * The network config in flanneld.yaml, in the words of people who plan a network: its range, and how it is divided.
 *
 *     Network: 10.5.0.0/16            # or {range: [10.5.0.0/16, "fd00:5::/48"]}
 *     Subnet:
 *       length: 24
 *       minimum: 10.5.1.0
 *       maximum: 10.5.200.0
 *       reserved: {10.5.3.0/24: 192.168.64.3}
 *       ipv6: {length: 64}
 *     Backend: {Type: vxlan}
 *
 * It becomes the JSON of network-config.ts, whose checks apply; faults name the line here.
 */

import { FAMILIES, type FamilyName, familyName } from "../address/family.ts";
import { formatIp, parseIp } from "../address/ip.ts";
import { formatPrefix, parsePrefix } from "../address/prefix.ts";
import { isObject } from "./json-members.ts";
import { suggest } from "./nearest-name.ts";
import { checkNetworkConfig } from "./network-config.ts";
import { FAMILY_RULES } from "./network-family.ts";
import type { YamlFault, YamlNode } from "./yaml-tree.ts";

/** A network config that a file of this host proposes. */
export interface DeclaredNetwork {
  /** As it is written into a datastore that has none. */
  readonly text: string;
  /** What the file states, by the names in the network config; what it leaves out is not compared. */
  readonly stated: Readonly<Record<string, DeclaredMember>>;
  /** Subnets for certain hosts. */
  readonly reserved: readonly Reservation[];
  /** The file: "/etc/flannel/flanneld.yaml". */
  readonly path: string;
}

interface DeclaredMember {
  readonly value: unknown;
  /** "/etc/flannel/flanneld.yaml:3". */
  readonly source: string;
}

interface Reservation {
  /** "10.5.3.0/24". */
  readonly subnet: string;
  /** "192.168.64.3". */
  readonly publicIp: string;
  readonly source: string;
}

/** The settings of the file that are no flags. */
export const NETWORK_KEYS: readonly string[] = ["Network", "Subnet", "Backend", "EnableNFTables"];

/** Undefined = the file says nothing about the network, or something wrong, which is added to `faults`. */
export function readDeclaredNetwork(
  settings: ReadonlyMap<string, YamlNode>,
  path: string,
  faults: YamlFault[],
): DeclaredNetwork | undefined {
  const [first] = settings.values();
  if (first === undefined) return undefined;
  const before = faults.length;
  const reading: Reading = { path, faults, stated: new Map(), reserved: [] };
  for (const [name, node] of settings) SETTINGS[name]!(node, reading);
  const { stated, reserved } = reading;
  if (faults.length === before && !FAMILIES.some(({ name }) => stated.has(FAMILY_RULES[name].keys.network))) {
    faults.push({
      line: first.line,
      complaint: "Network: is missing: write the network's range, e.g. Network: 10.5.0.0/16",
    });
  }
  if (faults.length > before) return undefined;
  const text = JSON.stringify(configOf(stated));
  for (const { message } of checkNetworkConfig(text).faults) {
    const complaint = message.replace(/^network config: /, "");
    const name = [...stated.keys()].find((member) => new RegExp(`^${member}\\b`).test(complaint));
    const line = stated.get(name ?? "")?.line ?? first.line;
    faults.push({ line, complaint: `${name === undefined ? "" : `${placeOf(name)}: `}${complaint}` });
  }
  if (faults.length > before) return undefined;
  const members = [...stated].map(([name, { value, line }]) => [name, { value, source: `${path}:${line}` }]);
  return { text, stated: Object.fromEntries(members), reserved, path };
}

/** Whether a `Backend` has a preshared key, or the secret of an access key. */
export const hasSecretMember = (backend: unknown): boolean =>
  isObject(backend) && Object.keys(backend).some((name) => /^(?:psk|accesskeysecret)$/i.test(name));

interface Reading {
  readonly path: string;
  readonly faults: YamlFault[];
  /** By the member's name in the network config. */
  readonly stated: Map<string, { readonly value: unknown; readonly line: number }>;
  readonly reserved: Reservation[];
}

type Read = (node: YamlNode, reading: Reading) => void;

const SETTINGS: Readonly<Record<string, Read>> = {
  Network(node, reading) {
    if (node.type === "map") readMembers("Network", { range: readRange }, node, reading);
    else readRange(node, reading);
  },
  Subnet: (node, reading) => {
    const ipv6: Read = (inner) => readMembers("Subnet.ipv6", boundsOf("ipv6"), inner, reading);
    readMembers("Subnet", { ...boundsOf("ipv4"), reserved: readReserved, ipv6 }, node, reading);
  },
  Backend({ type, value, line }, { stated, faults }) {
    if (type === "map" || type === "text") {
      stated.set("Backend", { value: type === "text" ? { Type: value } : value, line });
    } else
      faults.push({ line, complaint: "Backend: must be a type like vxlan, or members like {Type: vxlan}" });
  },
  EnableNFTables({ value, line }, { stated }) {
    stated.set("EnableNFTables", { value, line });
  },
};

function readMembers(
  place: string,
  known: Readonly<Record<string, Read>>,
  node: YamlNode,
  reading: Reading,
): void {
  const { faults } = reading;
  const names = Object.keys(known);
  if (node.type !== "map") {
    faults.push({ line: node.line, complaint: `${place}: has members: ${names.join(", ")}` });
  }
  for (const [name, member] of node.members) {
    if (Object.hasOwn(known, name)) {
      known[name]!(member, reading);
      continue;
    }
    const near = suggest(name, names);
    const hint = near === undefined ? `; it has ${names.join(", ")}` : ` (did you mean ${near}?)`;
    const complaint = `${place}: has no member called ${JSON.stringify(name.slice(0, 60))}${hint}`;
    faults.push({ line: member.line, complaint });
  }
}

const readRange: Read = (node, { stated, faults }) => {
  for (const { text } of node.type === "list" ? node.items : [node]) {
    const prefix = parsePrefix(text);
    const key = prefix && FAMILY_RULES[familyName(prefix.family)].keys.network;
    if (prefix === undefined || key === undefined) {
      const complaint = "Network: must be a range like 10.5.0.0/16, or a list with one of each family";
      faults.push({ line: node.line, complaint });
    } else if (stated.has(key)) {
      faults.push({ line: node.line, complaint: `Network: has two IPv${prefix.family} ranges` });
    } else stated.set(key, { value: formatPrefix(prefix), line: node.line });
  }
};

/** Length, minimum and maximum: their values are checked with the config that they become part of. */
function boundsOf(family: FamilyName): Record<string, Read> {
  const { length, min, max } = FAMILY_RULES[family].keys;
  const take =
    (name: string): Read =>
    ({ type, value, line }, { stated, faults }) => {
      if (type === "null") {
        faults.push({ line, complaint: `${placeOf(name)}: has no value: write one, or leave the line out` });
      } else stated.set(name, { value, line });
    };
  return { length: take(length), minimum: take(min), maximum: take(max) };
}

const readReserved: Read = (node, { path, faults, reserved }) => {
  if (node.type !== "map") {
    const complaint =
      "Subnet.reserved: names the host of each subnet, like {10.5.3.0/24: 192.168.64.3}; minimum and maximum keep subnets from all hosts";
    faults.push({ line: node.line, complaint });
  }
  for (const [name, { line, text }] of node.members) {
    // In a network of both families: one of each, with a comma between.
    const subnets = name.split(",").map((part) => parsePrefix(part.trim()));
    const ips = text.split(",").map((part) => parseIp(part.trim()));
    if (!subnets.every((subnet) => subnet !== undefined) || !ips.every((ip) => ip !== undefined)) {
      const complaint =
        "Subnet.reserved: must be a subnet and its host's public IP, like 10.5.3.0/24: 192.168.64.3";
      faults.push({ line, complaint });
      continue;
    }
    const [subnet, publicIp] = [subnets.map(formatPrefix).join(","), ips.map(formatIp).join(",")];
    reserved.push({ subnet, publicIp, source: `${path}:${line}` });
  }
};

/** The JSON to write: a family is enabled by its range. */
function configOf(stated: Reading["stated"]): Record<string, unknown> {
  const { ipv4, ipv6 } = FAMILY_RULES;
  return {
    ...(!stated.has(ipv4.keys.network) && { [ipv4.keys.enable]: false }),
    ...(stated.has(ipv6.keys.network) && { [ipv6.keys.enable]: true }),
    ...Object.fromEntries([...stated].map(([name, { value }]) => [name, value])),
    ...(!stated.has("Backend") && { Backend: { Type: "vxlan" } }),
  };
}

/** Where the file has a member of the network config: "Subnet.minimum" for SubnetMin. */
export function placeOf(member: string): string {
  for (const { name } of FAMILIES) {
    const { keys } = FAMILY_RULES[name];
    const place = name === "ipv4" ? "Subnet" : "Subnet.ipv6";
    if (member === keys.network) return "Network";
    if (member === keys.length) return `${place}.length`;
    if (member === keys.min) return `${place}.minimum`;
    if (member === keys.max) return `${place}.maximum`;
  }
  return member;
}
