/**
 * A recording as a file: a line that says what it is, one JSON object a line for each entry, and a line with their number and
 * their checksum (CRC-32), so that a truncated or changed file is noticed.
 */

import { basename, dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { KINDS } from "../state/objects.ts";
import type { RecorderEntry } from "./entries.ts";

const FORMAT = "flannel-recorder";
const VERSION = 1;
/** Far above any recording. */
export const MAX_RECORDING_BYTES = 64 * 1024 * 1024;

/** Whose recording it is. */
export interface RecordingHeader {
  readonly host: string;
  /** The version of flanneld. */
  readonly flannel: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly savedAt: string;
}

export interface Recording {
  readonly header: RecordingHeader;
  readonly entries: readonly RecorderEntry[];
}

/** The file's text. */
export function formatRecording(header: RecordingHeader, entries: Iterable<RecorderEntry>): string {
  const lines: string[] = [];
  for (const entry of entries) lines.push(JSON.stringify(entry));
  const body = lines.map((line) => `${line}\n`).join("");
  const first = JSON.stringify({ format: FORMAT, version: VERSION, ...header });
  return `${first}\n${body}${JSON.stringify({ entries: lines.length, crc32: crc32(body) })}\n`;
}

/** Reads it. Throws ConfigError that says what is wrong with the file. */
export function parseRecording(text: string): Recording {
  const firstEnd = text.indexOf("\n");
  const header = parseLine(text.slice(0, Math.max(0, firstEnd)));
  if (header?.format !== FORMAT)
    throw new ConfigError("it is no recording of flanneld: its first line does not say so");
  if (header.version !== VERSION)
    throw new ConfigError(
      `it has version ${JSON.stringify(header.version)} of the format, this program reads ${VERSION}; use the flannelctl of the flanneld that wrote it`,
    );
  const lastStart = text.lastIndexOf("\n", text.length - 2) + 1;
  const trailer = text.endsWith("\n") && lastStart > firstEnd ? parseLine(text.slice(lastStart)) : undefined;
  const body = text.slice(firstEnd + 1, lastStart);
  if (typeof trailer?.entries !== "number" || typeof trailer.crc32 !== "number")
    throw new ConfigError("it is truncated: its last line is missing");
  const lines = body.split("\n").slice(0, -1);
  if (lines.length !== trailer.entries || crc32(body) !== trailer.crc32)
    throw new ConfigError("it is corrupt: its checksum does not match its contents");
  const entries = lines.map((line, index) => {
    const entry = parseLine(line);
    if (!isEntry(entry))
      throw new ConfigError(`it is corrupt: entry ${index + 1} is none that this version knows`);
    return entry;
  });
  const texts = {
    host: header.host,
    flannel: header.flannel,
    startedAt: header.startedAt,
    savedAt: header.savedAt,
  };
  if (!Object.values(texts).every((each) => typeof each === "string"))
    throw new ConfigError("it is corrupt: its first line is incomplete");
  return { header: texts as RecordingHeader, entries };
}

/** Where flanneld writes it: `recorder` beside `subnet.env` or `flanneld.sock`, `NAME.recorder` beside `NAME.env` or `NAME.sock`. */
export function recordingPathOf(subnetFileOrSocket: string): string {
  const name = basename(subnetFileOrSocket).replace(/\.(?:env|sock)$/, "");
  const isStandard = name === "subnet" || name === "flanneld";
  return join(dirname(subnetFileOrSocket), isStandard ? "recorder" : `${name}.recorder`);
}

type Fields = Readonly<Record<string, unknown>>;

function parseLine(line: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Fields) : undefined;
  } catch {
    return undefined;
  }
}

const KIND_NAMES: ReadonlySet<unknown> = new Set(KINDS.map(({ kind }) => kind));
const NOTES: ReadonlySet<unknown> = new Set(["lease", "peer", "probe", "readiness"]);

const isText = (value: unknown): value is string => typeof value === "string";
const isList = (value: unknown, check: (item: unknown) => boolean): boolean =>
  Array.isArray(value) && value.every(check);
const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null;
const isObject = (value: unknown): boolean => isFields(value) && KIND_NAMES.has(value.kind);
const isNetwork = (value: unknown): boolean => isText(value) && parsePrefix(value) !== undefined;
const isOperation = (value: unknown): boolean =>
  isFields(value) &&
  ["create", "replace", "remove"].includes(value.action as string) &&
  isObject(value.object) &&
  (value.action !== "replace" || isObject(value.previous));
const isTried = (value: unknown): boolean =>
  isFields(value) && isText(value.action) && isText(value.key) && isText(value.object);

function isEntry(entry: Fields | undefined): entry is Fields & RecorderEntry {
  if (entry === undefined || !Number.isFinite(entry.atMs)) return false;
  if (NOTES.has(entry.type)) return isText(entry.message);
  if (entry.type === "drift") return isList(entry.operations, isOperation);
  if (entry.type === "pass") return isList(entry.operations, isTried) && Number.isFinite(entry.tried);
  return (
    entry.type === "target" &&
    isList(entry.set, isObject) &&
    isList(entry.gone, isText) &&
    isList(entry.devices, isText) &&
    isList(entry.networks, isNetwork)
  );
}
