/**
 * A recording as a file: a line that says what it is, one JSON object a line for each entry, and a line with their number and
 * their checksum (CRC-32), so that a truncated or changed file is noticed.
 */

import { basename, dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { isShallow } from "../config/json-members.ts";
import { KINDS } from "../state/objects.ts";
import type { RecorderEntry } from "./entries.ts";
import { decodeInputs, encodeInputs, encodeLease } from "./input-codec.ts";

const FORMAT = "flannel-recorder";
const VERSION = 1;
/** Nesting of an entry; a real one has 7. */
const MAX_DEPTH = 20;
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

/** A recording as it was read; the oldest entry first. */
export interface Recording {
  readonly header: RecordingHeader;
  readonly entries: readonly RecorderEntry[];
}

/** An entry as a value for JSON.stringify. */
export const encodeEntry = (entry: RecorderEntry): object =>
  entry.type === "target" && entry.inputs !== undefined
    ? { ...entry, inputs: encodeInputs(entry.inputs) }
    : entry;

/** The file's text. */
export const formatRecording = (header: RecordingHeader, entries: Iterable<RecorderEntry>): string =>
  [...recordingPieces(header, entries)].join("");

/** The file's text in pieces, none of which is much work: the first entry may have thousands of objects. */
export function* recordingPieces(
  header: RecordingHeader,
  entries: Iterable<RecorderEntry>,
): Generator<string> {
  yield `${JSON.stringify({ format: FORMAT, version: VERSION, ...header })}\n`;
  let count = 0;
  let checksum = 0;
  for (const entry of entries) {
    count++;
    for (const piece of entryPieces(entry)) {
      checksum = crc32(piece, checksum);
      yield piece;
    }
  }
  yield trailerOf(count, checksum);
}

const trailerOf = (entries: number, checksum: number): string =>
  `${JSON.stringify({ entries, crc32: checksum })}\n`;

function* entryPieces(entry: RecorderEntry): Generator<string> {
  if (entry.type !== "target") {
    yield `${JSON.stringify(entry)}\n`;
    return;
  }
  const { set, inputs, ...rest } = entry;
  yield `${JSON.stringify(rest).slice(0, -1)},"set":[`;
  yield* itemPieces(set, (object) => object);
  yield "]";
  if (inputs !== undefined) {
    const { leases = [], ...others } = inputs;
    const head = JSON.stringify(encodeInputs(others)).slice(0, -1);
    yield `,"inputs":${head}${head === "{" ? "" : ","}"leases":[`;
    yield* itemPieces(leases, encodeLease);
    yield "]}";
  }
  yield "}\n";
}

const ITEMS_PER_PIECE = 100;

function* itemPieces<T>(items: readonly T[], encode: (item: T) => object): Generator<string> {
  for (let start = 0; start < items.length; start += ITEMS_PER_PIECE) {
    const texts = items.slice(start, start + ITEMS_PER_PIECE).map((item) => JSON.stringify(encode(item)));
    yield `${start === 0 ? "" : ","}${texts.join()}`;
  }
}

/**
 * Changes the text of a valid recording and gives it a checksum that matches; any other text is only changed. `change` keeps
 * the lines.
 */
export function changeRecording(text: string, change: (text: string) => string): string {
  try {
    parseRecording(text);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return change(text);
  }
  const lines = change(text).split("\n").slice(0, -2);
  const body = lines.slice(1).map((line) => `${line}\n`);
  return `${lines[0]}\n${body.join("")}${trailerOf(body.length, crc32(body.join("")))}`;
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
    const entry = readEntry(parseLine(line));
    if (entry === undefined)
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

function readEntry(fields: Fields | undefined): RecorderEntry | undefined {
  if (!isEntry(fields) || !isShallow(fields, MAX_DEPTH)) return undefined;
  if (fields.type !== "target" || fields.inputs === undefined) return fields;
  const inputs = decodeInputs(fields.inputs);
  return inputs && { ...fields, inputs };
}

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
