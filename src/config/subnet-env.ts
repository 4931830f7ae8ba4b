/**
 * subnet.env, the file from which Docker, CNI plugins and scripts learn this host's subnet:
 *
 *     FLANNEL_NETWORK=10.5.0.0/16
 *     FLANNEL_SUBNET=10.5.72.1/24
 *     FLANNEL_IPV6_NETWORK=2001:cafe:42::/56
 *     FLANNEL_IPV6_SUBNET=2001:cafe:42::1/64
 *     FLANNEL_MTU=1450
 *     FLANNEL_IPMASQ=false
 *
 * Order and spelling are fixed; a family that is not enabled has no lines. The subnet is written as its first usable
 * address, the one that the host's bridge takes.
 *
 * The reader accepts what Go flannel's readers accept: quoted values, `export`, words of strconv.ParseBool, and a family
 * of which one line is missing, if the other family is complete.
 */

import { type Family, formatIp } from "../address/ip.ts";
import { addressAt, formatPrefix, type Prefix, parsePrefix, samePrefix } from "../address/prefix.ts";
import { ConfigError, messageOf } from "../base/error.ts";
import { parseBool } from "./flags.ts";

/** One prefix per family. */
export interface PrefixPair {
  readonly ipv4: Prefix | undefined;
  readonly ipv6: Prefix | undefined;
}

/** The content of the file. */
export interface SubnetEnv {
  /** The whole flannel network. */
  readonly network: PrefixPair;
  /** This host's subnets of it. */
  readonly subnets: PrefixPair;
  /** MTU for containers, in bytes. */
  readonly mtuBytes: number;
  /** Whether flanneld masquerades, so that Docker or CNI must not. */
  readonly ipMasq: boolean;
}

/** The readable part of a file that may be old, incomplete or edited by hand. */
export interface ParsedSubnetEnv {
  readonly network: PrefixPair;
  readonly subnets: PrefixPair;
  readonly mtuBytes: number | undefined;
  readonly ipMasq: boolean | undefined;
  /** Names of required variables that are missing. */
  readonly missing: readonly string[];
  /** Names of variables with an invalid value; they count as absent, not as missing. */
  readonly invalid: readonly string[];
}

/** Writes a file so that readers see the old text or the new one, never a part; creates the parent directory. */
export type AtomicFileWriter = (path: string, text: string, mode: number) => Promise<void>;

/** Readable by everyone: Docker's and CNI's scripts do not all run as root. */
const SUBNET_ENV_MODE = 0o644;

/** The text of the file. */
export function formatSubnetEnv(env: SubnetEnv): string {
  const lines: string[] = [];
  if (env.network.ipv4 !== undefined && env.subnets.ipv4 !== undefined) {
    lines.push(`FLANNEL_NETWORK=${formatPrefix(env.network.ipv4)}`);
    lines.push(`FLANNEL_SUBNET=${formatFirstUsable(env.subnets.ipv4)}`);
  }
  if (env.network.ipv6 !== undefined && env.subnets.ipv6 !== undefined) {
    lines.push(`FLANNEL_IPV6_NETWORK=${formatPrefix(env.network.ipv6)}`);
    lines.push(`FLANNEL_IPV6_SUBNET=${formatFirstUsable(env.subnets.ipv6)}`);
  }
  lines.push(`FLANNEL_MTU=${env.mtuBytes}`, `FLANNEL_IPMASQ=${env.ipMasq}`);
  return `${lines.join("\n")}\n`;
}

/** Writes the file with `write`. Throws ConfigError if it cannot be written. */
export async function writeSubnetEnv(path: string, env: SubnetEnv, write: AtomicFileWriter): Promise<void> {
  try {
    await write(path, formatSubnetEnv(env), SUBNET_ENV_MODE);
  } catch (error) {
    const cause = messageOf(error);
    const failure = cause.includes(path) ? cause : `failed to write ${path}: ${cause}`;
    throw new ConfigError(
      `${failure}; make its directory writable, or choose another file with --subnet-file`,
      { cause: error },
    );
  }
}

/**
 * Reads the text of the file. Values may be quoted, exported and followed by a comment, as in a file that a shell
 * sources; blank lines, comments and unknown variables are ignored; never throws. Of several networks the
 * first counts ({@link listNetworks} returns all).
 */
export function parseSubnetEnv(text: string): ParsedSubnetEnv {
  const variables = readVariables(text);
  const invalid: string[] = [];
  const take = <T>(name: string, parse: (value: string) => T | undefined): T | undefined => {
    const value = variables.get(name);
    if (value === undefined) return undefined;
    const parsed = parse(value);
    if (parsed === undefined) invalid.push(name);
    return parsed;
  };
  const network = {
    ipv4: take("FLANNEL_NETWORK", (value) => parseList(value, 4)?.[0]),
    ipv6: take("FLANNEL_IPV6_NETWORK", (value) => parseList(value, 6)?.[0]),
  };
  const subnets = {
    ipv4: take("FLANNEL_SUBNET", (value) => parseFamily(value, 4)),
    ipv6: take("FLANNEL_IPV6_SUBNET", (value) => parseFamily(value, 6)),
  };
  const mtuBytes = take("FLANNEL_MTU", (value) => (/^[1-9]\d{0,5}$/.test(value) ? Number(value) : undefined));
  // Go's plugin counts everything but "true" as false; what is no boolean at all is half-written.
  const ipMasq = take("FLANNEL_IPMASQ", (value) =>
    parseBool(value) === undefined ? undefined : value === "true",
  );
  const missing = requiredNames(variables).filter((name) => !variables.has(name));
  return { network, subnets, mtuBytes, ipMasq, missing, invalid };
}

/**
 * All flannel networks that the file names, IPv4 first, each once: flanneld 0.21 to 0.24 could have several, separated by
 * commas. Invalid lists are left out.
 */
export function listNetworks(text: string): Prefix[] {
  const variables = readVariables(text);
  const networks = [
    ...(parseList(variables.get("FLANNEL_NETWORK") ?? "", 4) ?? []),
    ...(parseList(variables.get("FLANNEL_IPV6_NETWORK") ?? "", 6) ?? []),
  ];
  return networks.filter((network, index) => networks.findIndex((n) => samePrefix(n, network)) === index);
}

const IPV4_NAMES = ["FLANNEL_NETWORK", "FLANNEL_SUBNET"];
const IPV6_NAMES = ["FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET"];

/** One complete family is enough, as for Go flannel's CNI plugin. With none complete, each family begun is required. */
function requiredNames(variables: ReadonlyMap<string, string>): string[] {
  const others = ["FLANNEL_MTU", "FLANNEL_IPMASQ"];
  const complete = [IPV4_NAMES, IPV6_NAMES].filter((names) => names.every((name) => variables.has(name)));
  if (complete.length > 0) return others;
  const begun = [IPV4_NAMES, IPV6_NAMES].filter((names) => names.some((name) => variables.has(name)));
  return [...(begun.length > 0 ? begun : [IPV4_NAMES]).flat(), ...others];
}

function readVariables(text: string): Map<string, string> {
  const variables = new Map<string, string>();
  for (const line of text.replace(/^\uFEFF/, "").split("\n")) {
    const match = /^(?:export\s+)?([A-Z][A-Z\d_]*)=(.*)$/.exec(line.trim());
    if (match !== null) variables.set(match[1]!, shellValue(match[2]!));
  }
  return variables;
}

/** A value as a shell that sources the file reads it: without quotes and without a comment behind it. */
function shellValue(text: string): string {
  const match = /^(?:"([^"]*)"|'([^']*)'|([^\s"']*))\s*;?(?:\s+#.*)?$/.exec(text);
  return match?.[1] ?? match?.[2] ?? match?.[3] ?? text;
}

/** Prefixes separated by commas; undefined if one of them is invalid. */
function parseList(text: string, family: Family): Prefix[] | undefined {
  const prefixes = text.split(",").map((item) => parseFamily(item.trim(), family));
  return prefixes.every((prefix) => prefix !== undefined) ? prefixes : undefined;
}

function parseFamily(text: string, family: Family): Prefix | undefined {
  const prefix = parsePrefix(text);
  return prefix?.family === family ? prefix : undefined;
}

const formatFirstUsable = (subnet: Prefix): string => `${formatIp(addressAt(subnet, 1n))}/${subnet.length}`;
