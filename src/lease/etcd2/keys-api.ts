/**
 * The keys API of etcd v2 as data: paths, answers, refusals (https://etcd.io/docs/v2.3/api/,
 * https://etcd.io/docs/v2.3/errorcode/).
 *
 * Everything has an index: each change of the whole store counts it up by one.
 */

import type { KeyRecord } from "../keys/key-value-store.ts";

/** A request below /v2/keys. */
export interface KeysRequest {
  readonly method: "GET" | "PUT" | "DELETE";
  /** "/coreos.com/network/config". */
  readonly key: string;
  readonly query: Readonly<Record<string, string>>;
  readonly form?: Readonly<Record<string, string>>;
}

/** A key or a directory. */
export interface KeysNode {
  readonly key: string;
  /** Empty for directories, and in answers about what was removed. */
  readonly value: string;
  readonly isDirectory: boolean;
  /** Whether it expires. */
  readonly hasTtl: boolean;
  /** When it expires, by etcd's clock (RFC 3339); undefined = never, or unknown. */
  readonly expiration: string | undefined;
  readonly createdIndex: number;
  readonly modifiedIndex: number;
}

/** A reading or a change. */
export interface KeysAnswer {
  /** "get", "set", "create", "update", "delete", "expire", "compareAndSwap", "compareAndDelete". */
  readonly action: string;
  readonly node: KeysNode;
  /** The node before the change. */
  readonly previous: KeysNode | undefined;
  /** All keys in what was read, without the directories. */
  readonly leaves: readonly KeysNode[];
}

/** An error that etcd answers with. */
export interface KeysRefusal {
  readonly errorCode: number;
  readonly message: string;
  /** Mostly the key. */
  readonly cause: string;
}

export const ECODE_KEY_NOT_FOUND = 100;
export const ECODE_TEST_FAILED = 101;
export const ECODE_NOT_DIR = 104;
export const ECODE_NODE_EXIST = 105;
export const ECODE_UNAUTHORIZED = 110;
export const ECODE_RAFT_INTERNAL = 300;
export const ECODE_LEADER_ELECT = 301;
export const ECODE_WATCHER_CLEARED = 400;
export const ECODE_EVENT_INDEX_CLEARED = 401;

/** A member of a body before it is checked. */
interface RawObject {
  readonly [name: string]: unknown;
  readonly nodes?: unknown;
}

const REMOVALS: readonly string[] = ["delete", "expire", "compareAndDelete"];

/** Whether the change removed its node: delete, expire, or compareAndDelete. */
export const isRemoval = ({ action }: KeysAnswer): boolean => REMOVALS.includes(action);

/** Whether etcd refused the request: the body has an errorCode. */
export const isRefusal = (body: KeysAnswer | KeysRefusal): body is KeysRefusal => "errorCode" in body;

/** The record of a key; `lifeId` is when it expires, as etcd writes it. */
export const recordOf = ({
  key,
  value,
  hasTtl,
  expiration,
  createdIndex,
  modifiedIndex,
}: KeysNode): KeyRecord => ({
  key,
  value,
  createdAt: BigInt(createdIndex),
  revision: BigInt(modifiedIndex),
  lifeId: hasTtl ? (expiration ?? "") : undefined,
});

/** The path of a URL. Keys may contain any character: the "&" of a lease with two families, "%", spaces. */
export const pathOfKey = (key: string): string =>
  `/v2/keys${key.split("/").map(encodeURIComponent).join("/")}`;

/** Decodes a body; undefined = it is not one of the keys API. */
export function decodeKeysBody(text: string): KeysAnswer | KeysRefusal | undefined {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(body)) return undefined;
  const { errorCode, message, cause, action, node, prevNode } = body;
  if (typeof errorCode === "number") {
    return { errorCode, message: textOr(message, ""), cause: textOr(cause, "") };
  }
  const decoded = decodeNode(node);
  const previous = prevNode === undefined ? undefined : decodeNode(prevNode);
  const leaves = leavesIn(node);
  if (typeof action !== "string" || decoded === null || previous === null || leaves === null)
    return undefined;
  return { action, node: decoded, previous, leaves };
}

/** Null = not a node. */
function decodeNode(node: unknown): KeysNode | null {
  if (!isObject(node)) return null;
  const { key, value, dir, ttl, expiration, createdIndex, modifiedIndex } = node;
  if (!isIndex(createdIndex) || !isIndex(modifiedIndex)) return null;
  return {
    key: textOr(key, "/"), // omitted for the root
    value: textOr(value, ""),
    isDirectory: dir === true,
    // A TTL in its last second is 0 and omitted; the time of expiry is not.
    hasTtl: ttl !== undefined || expiration !== undefined,
    expiration: typeof expiration === "string" ? expiration : undefined,
    createdIndex,
    modifiedIndex,
  };
}

/** Null = something in it is not a node. Without recursion: directories may be nested to any depth. */
function leavesIn(root: unknown): readonly KeysNode[] | null {
  const leaves: KeysNode[] = [];
  const open: unknown[] = [root];
  while (open.length > 0) {
    const raw = open.pop();
    const node = decodeNode(raw);
    if (node === null) return null;
    if (!node.isDirectory) leaves.push(node);
    else for (const child of childrenOf(raw).toReversed()) open.push(child);
  }
  return leaves;
}

const childrenOf = (raw: unknown): readonly unknown[] =>
  isObject(raw) && Array.isArray(raw.nodes) ? raw.nodes : [];

const isObject = (value: unknown): value is RawObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** etcd counts with 64 bits; at a thousand changes a second, 53 are enough for 285,000 years. */
const isIndex = (value: unknown): value is number => Number.isSafeInteger(value);

const textOr = (value: unknown, fallback: string): string => (typeof value === "string" ? value : fallback);
