/**
 * Inputs of plans as JSON. Of what leases carry for backends only the members that a backend reads are written, none of which is a
 * secret: MACs, public keys, numbers; of the extension backend the text, which the desired state has too.
 */

import { formatIp, type Ip, parseIp } from "../address/ip.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../address/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import type { PlanInputs, RecordedConfig, RecordedHop, RecordedRenewal } from "./plan-inputs.ts";

/** Members of BackendData that backends read, in lower case: vxlan's and wireguard's. */
const PUBLIC_MEMBERS = new Set(["vni", "vtepmac", "publickey", "port"]);
/** Of one member; a real one has at most 44 characters. */
const MAX_MEMBER_LENGTH = 100;

/** Inputs as a value for JSON.stringify. */
export function encodeInputs({ config, own, leases, renewals, ...rest }: PlanInputs): object {
  return {
    ...(config && { config: tagAll(config) }),
    ...(own === undefined ? {} : { own: own && { key: own.key, ...encodePair(own.subnets) } }),
    ...rest,
    ...(leases && { leases: leases.map(encodeLease) }),
    ...(renewals && {
      renewals: renewals.map(({ key, renewedAt }) => ({ key, renewedAt: renewedAt?.toString() })),
    }),
  };
}

/** One lease as a value for JSON.stringify. */
export function encodeLease({ key, subnets, attributes, establishedAt, renewedAt }: Lease): object {
  const { publicIp, publicIpv6, backendType, backendData, backendV6Data } = attributes;
  return {
    key,
    ...encodePair(subnets),
    publicIp: publicIp && formatIp(publicIp),
    publicIpv6: publicIpv6 && formatIp(publicIpv6),
    backendType,
    backendData: publicPart(backendType, backendData),
    backendV6Data: publicPart(backendType, backendV6Data),
    establishedAt: establishedAt?.toString(),
    renewedAt: renewedAt?.toString(),
  };
}

function publicPart(backendType: string, data: unknown): unknown {
  if (typeof data === "string") return backendType === "extension" ? data : undefined;
  if (typeof data !== "object" || data === null) return undefined;
  return Object.fromEntries(
    Object.entries(data).filter(
      ([name, value]) =>
        PUBLIC_MEMBERS.has(name.toLowerCase()) &&
        (typeof value === "number" || (typeof value === "string" && value.length <= MAX_MEMBER_LENGTH)),
    ),
  );
}

const encodePair = ({ ipv4, ipv6 }: Lease["subnets"]) => ({
  ipv4: ipv4 && formatPrefix(ipv4),
  ipv6: ipv6 && formatPrefix(ipv6),
});

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Thrown by the readers below, and caught by {@link decodeInputs}. */
class Malformed extends Error {}

/** Inputs from parsed JSON; undefined = malformed. */
export function decodeInputs(value: unknown): PlanInputs | undefined {
  if (!isFields(value)) return undefined;
  const { config, own, isKnown } = value;
  const list = <T>(name: string, read: (item: unknown) => T) => {
    const items = value[name];
    if (items === undefined) return {};
    if (!Array.isArray(items)) throw new Malformed();
    return { [name]: items.map(read) };
  };
  try {
    if (isKnown !== undefined && typeof isKnown !== "boolean") return undefined;
    return {
      ...(config === undefined ? {} : { config: readConfig(config) }),
      ...(own === undefined ? {} : { own: own === null ? null : readOwn(own) }),
      ...(isKnown === undefined ? {} : { isKnown }),
      ...list("leases", readLease),
      ...list("renewals", readRenewal),
      ...list("goneLeases", readText),
      ...list("hops", readHop),
      ...list("goneHops", readText),
    };
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

const MAX_TEXT_LENGTH = 1_000;

function readText(value: unknown): string {
  if (typeof value === "string") return value;
  throw new Malformed();
}

function readFields(value: unknown): Fields {
  if (isFields(value)) return value;
  throw new Malformed();
}

/** Undefined if absent. */
function optional<T>(value: unknown, read: (text: string) => T | undefined): T | undefined {
  if (value === undefined) return undefined;
  const text = readText(value);
  const result = text.length > MAX_TEXT_LENGTH ? undefined : read(text);
  if (result === undefined) throw new Malformed();
  return result;
}

const readNumber = (text: string): bigint | undefined =>
  /^-?\d{1,30}$/.test(text) ? BigInt(text) : undefined;
const ofFamily =
  <T extends Ip | Prefix>(parse: (text: string) => T | undefined, family: 4 | 6) =>
  (text: string): T | undefined => {
    const parsed = parse(text);
    return parsed?.family === family ? parsed : undefined;
  };
const readPair = ({ ipv4, ipv6 }: Fields): Lease["subnets"] => ({
  ipv4: optional(ipv4, ofFamily(parsePrefix, 4)),
  ipv6: optional(ipv6, ofFamily(parsePrefix, 6)),
});

function readOwn(value: unknown): NonNullable<PlanInputs["own"]> {
  const fields = readFields(value);
  return { key: readText(fields.key), subnets: readPair(fields) };
}

function readLease(value: unknown): Lease {
  const fields = readFields(value);
  return {
    key: readText(fields.key),
    subnets: readPair(fields),
    attributes: {
      publicIp: optional(fields.publicIp, ofFamily(parseIp, 4)),
      publicIpv6: optional(fields.publicIpv6, ofFamily(parseIp, 6)),
      backendType: readText(fields.backendType),
      backendData: fields.backendData,
      backendV6Data: fields.backendV6Data,
    },
    establishedAt: optional(fields.establishedAt, readNumber),
    renewedAt: optional(fields.renewedAt, readNumber),
  };
}

function readRenewal(value: unknown): RecordedRenewal {
  const { key, renewedAt } = readFields(value);
  return { key: readText(key), renewedAt: optional(renewedAt, readNumber) };
}

function readHop(value: unknown): RecordedHop {
  const { address, hop } = readFields(value);
  if (hop === null) return { address: readText(address), hop };
  const { device, via } = readFields(hop);
  return {
    address: readText(address),
    hop: { device: readText(device), via: via === undefined ? undefined : readText(via) },
  };
}

/** The network's typed config and the host: addresses and prefixes are tagged, e.g. `{"prefix":"10.5.0.0/16"}`. */
function readConfig(value: unknown): RecordedConfig {
  const config = readFields(untagAll(value));
  const network = readFields(config.network);
  readText(readFields(network.backend).type);
  readText(readFields(config.published).backendType);
  readText(readFields(config.host).interfaceName);
  for (const family of [network.ipv4, network.ipv6])
    if (family !== undefined && !isPrefix(readFields(family).network)) throw new Malformed();
  return config as unknown as RecordedConfig;
}

const isPrefix = (value: unknown): value is Prefix =>
  isFields(value) && typeof value.base === "bigint" && "length" in value;
const isIp = (value: unknown): value is Ip => isFields(value) && typeof value.value === "bigint";

function tagAll(value: unknown): unknown {
  if (isPrefix(value)) return { prefix: formatPrefix(value) };
  if (isIp(value)) return { ip: formatIp(value) };
  if (Array.isArray(value)) return value.map(tagAll);
  if (!isFields(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, tagAll(each)]));
}

function untagAll(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(untagAll);
  if (!isFields(value)) return value;
  const entries = Object.entries(value);
  if (entries.length === 1 && typeof value.prefix === "string") return optional(value.prefix, parsePrefix);
  if (entries.length === 1 && typeof value.ip === "string") return optional(value.ip, parseIp);
  return Object.fromEntries(entries.map(([name, each]) => [name, untagAll(each)]));
}
