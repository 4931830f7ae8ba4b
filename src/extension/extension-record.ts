/**
 * The peers that SubnetAddCommand was run for, as JSON in a file: the next run of flanneld runs SubnetRemoveCommand for those
 * that left meanwhile. What is malformed is ignored: then nothing is removed.
 */

import { parsePrefix } from "../address/prefix.ts";
import type { ExtensionPeer } from "../state/objects.ts";

const TEXT_FIELDS = [
  "subnet",
  "publicIp",
  "ipv6Subnet",
  "publicIpv6",
  "data",
  "addCommand",
  "removeCommand",
] as const;

export const formatRecord = (peers: Iterable<ExtensionPeer>): string =>
  `${JSON.stringify({ peers: [...peers].map((peer) => Object.fromEntries(TEXT_FIELDS.map((name) => [name, peer[name]]))) })}\n`;

/** The peers in a record, as an earlier run's; undefined = it is malformed. */
export function parseRecord(text: string): readonly ExtensionPeer[] | undefined {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    return undefined;
  }
  const list = typeof content === "object" && content !== null && "peers" in content ? content.peers : null;
  if (!Array.isArray(list)) return undefined;
  const peers = list.map(parsePeer);
  return peers.every((peer) => peer !== undefined) ? peers : undefined;
}

function parsePeer(value: unknown): ExtensionPeer | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  if (!TEXT_FIELDS.every((name) => typeof fields[name] === "string")) return undefined;
  const texts = Object.fromEntries(TEXT_FIELDS.map((name) => [name, fields[name]])) as Record<
    (typeof TEXT_FIELDS)[number],
    string
  >;
  const subnets = [texts.subnet, texts.ipv6Subnet].filter((subnet) => subnet !== "");
  if (subnets.length === 0 || !subnets.every((subnet) => parsePrefix(subnet) !== undefined)) return undefined;
  return { kind: "extension-peer", ...texts, isCurrent: false };
}
