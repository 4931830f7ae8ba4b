/**
 * Where each part of a bundle comes from, as one string that the build puts into the bundle itself: what the log needs of
 * a source map (https://tc39.es/ecma426/).
 *
 * The string is the names of the source files, separated by blanks, a colon, and entries of 10 bytes in base64, sorted by
 * position: u48 position in the bundle (line * 2^24 + column), u16 number of the file, u16 line in it; little-endian.
 * An entry holds from its position on to the next one, and each further line of the bundle is the next one of the source.
 */

/** A position in a bundle, and the source line that it comes from. Lines count from 1, columns from 0. */
export interface SourceEntry {
  readonly bundleLine: number;
  readonly bundleColumn: number;
  /** Base name; "" for a part that comes from no source of ours. */
  readonly file: string;
  readonly line: number;
}

const ENTRY_BYTES = 10;
const POSITION_BYTES = 6;
/** A minified bundle is a few lines of many thousand columns; longer columns are cut to this. */
const COLUMNS = 2 ** 24;

/** The table of these entries, which are sorted by position. At most 65,535 files, each of at most 65,535 lines. */
export function encodeSourceTable(entries: Iterable<SourceEntry>): string {
  const files: string[] = [""];
  const numbers = new Map([["", 0]]);
  const kept: number[] = [];
  let last: SourceEntry | undefined;
  for (const entry of entries) {
    const isImplied =
      last?.file === entry.file &&
      (entry.file === "" || entry.line - last.line === entry.bundleLine - last.bundleLine);
    if (isImplied) continue;
    last = entry;
    if (!numbers.has(entry.file)) numbers.set(entry.file, files.push(entry.file) - 1);
    kept.push(positionOf(entry.bundleLine, entry.bundleColumn), numbers.get(entry.file)!, entry.line);
  }
  const bytes = Buffer.alloc((kept.length / 3) * ENTRY_BYTES);
  for (let index = 0; index * ENTRY_BYTES < bytes.length; index++) {
    bytes.writeUIntLE(kept[index * 3]!, index * ENTRY_BYTES, POSITION_BYTES);
    bytes.writeUInt16LE(kept[index * 3 + 1]!, index * ENTRY_BYTES + POSITION_BYTES);
    bytes.writeUInt16LE(kept[index * 3 + 2]!, index * ENTRY_BYTES + POSITION_BYTES + 2);
  }
  return `${files.join(" ")}:${bytes.toString("base64")}`;
}

/** Finds source positions ("main.ts:168") in a table. A damaged table finds nothing; no input makes it throw. */
export class SourceTable {
  readonly #files: readonly string[];
  readonly #bytes: Buffer;

  constructor(table: string) {
    const end = table.indexOf(":");
    this.#files = table.slice(0, Math.max(end, 0)).split(" ");
    this.#bytes = Buffer.from(table.slice(end + 1), "base64");
  }

  /** undefined for a position that comes from no source of ours. */
  find(bundleLine: number, bundleColumn: number): string | undefined {
    const position = positionOf(bundleLine, bundleColumn);
    let [low, high] = [0, Math.floor(this.#bytes.length / ENTRY_BYTES)];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#bytes.readUIntLE(middle * ENTRY_BYTES, POSITION_BYTES) <= position) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    const at = (low - 1) * ENTRY_BYTES;
    const file = this.#files[this.#bytes.readUInt16LE(at + POSITION_BYTES)] ?? "";
    if (file === "") return undefined;
    const linesSince = bundleLine - Math.floor(this.#bytes.readUIntLE(at, POSITION_BYTES) / COLUMNS);
    return `${file}:${this.#bytes.readUInt16LE(at + POSITION_BYTES + 2) + linesSince}`;
  }
}

function positionOf(line: number, column: number): number {
  return line * COLUMNS + Math.min(column, COLUMNS - 1);
}
