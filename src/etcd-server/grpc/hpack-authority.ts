/**
 * Finds `:authority` in an HPACK header block (RFC 7541) and replaces the characters that it may not have. Knows as much of
 * HPACK as that takes: integers, strings, and the Huffman codes of printable characters.
 */

/** The static table's index of `:authority` (RFC 7541, A). */
const AUTHORITY_INDEX = 1;
const AUTHORITY = ":authority";
/** What nghttp2 lets through in an authority: RFC 3986, 3.2, without "/", "?", "#" and what else delimits it. */
const FORBIDDEN = /[^A-Za-z0-9\-._~!$&'()*+,;=:@%[\]]/g;
const HUFFMAN = 0x80;

/** The block with a permitted authority; undefined = nothing to repair, or not HPACK. */
export function repairAuthority(block: Buffer): Buffer | undefined {
  const reader = new BlockReader(block);
  const parts: Buffer[] = [];
  let copied = 0;
  while (reader.at < block.length) {
    const first = block[reader.at]!;
    if ((first & 0x80) !== 0) {
      if (reader.integer(7) === undefined) return undefined;
      continue;
    }
    if ((first & 0xe0) === 0x20) {
      if (reader.integer(5) === undefined) return undefined; // the dynamic table's size
      continue;
    }
    const index = reader.integer((first & 0x40) !== 0 ? 6 : 4);
    const name = index === 0 ? reader.string() : undefined;
    if (index === undefined || (index === 0 && name === undefined)) return undefined;
    const valueStart = reader.at;
    const value = reader.string();
    if (value === undefined) return undefined;
    if (index !== AUTHORITY_INDEX && (name === undefined || textOf(name) !== AUTHORITY)) continue;
    const text = textOf(value);
    const permitted = text?.replace(FORBIDDEN, ".");
    if (permitted === undefined || permitted === text) continue;
    parts.push(block.subarray(copied, valueStart), plainString(permitted));
    copied = reader.at;
  }
  return parts.length === 0 ? undefined : Buffer.concat([...parts, block.subarray(copied)]);
}

interface CodedString {
  readonly bytes: Buffer;
  readonly isHuffman: boolean;
}

class BlockReader {
  readonly #block: Buffer;
  at = 0;

  constructor(block: Buffer) {
    this.#block = block;
  }

  /** RFC 7541, 5.1; undefined = cut off, or larger than any block. */
  integer(prefixBits: number): number | undefined {
    const max = 2 ** prefixBits - 1;
    const first = this.#block[this.at++];
    if (first === undefined) return undefined;
    let value = first & max;
    if (value < max) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.#block[this.at++];
      if (byte === undefined) return undefined;
      value += (byte & 0x7f) * 2 ** shift;
      if ((byte & 0x80) === 0) return value;
    }
    return undefined;
  }

  /** RFC 7541, 5.2; undefined = cut off. */
  string(): CodedString | undefined {
    const isHuffman = ((this.#block[this.at] ?? 0) & HUFFMAN) !== 0;
    const length = this.integer(7);
    if (length === undefined || this.at + length > this.#block.length) return undefined;
    const bytes = this.#block.subarray(this.at, this.at + length);
    this.at += length;
    return { bytes, isHuffman };
  }
}

/** Without Huffman coding; shorter than 2^14 characters. */
function plainString(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.of(bytes.length), bytes]);
  const rest = bytes.length - 127;
  const length = rest < 128 ? [127, rest] : [127, (rest & 127) | 128, rest >> 7];
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** Undefined = not decodable with the codes of printable characters. */
const textOf = ({ bytes, isHuffman }: CodedString): string | undefined =>
  isHuffman ? decodeHuffman(bytes) : bytes.toString("latin1");

/** Characters by the length of their code in bits, in the order of their codes (RFC 7541, B). */
const HUFFMAN_LENGTHS: readonly (readonly [bits: number, characters: string])[] = [
  [5, "012aceiost"],
  [6, " %-./3456789=A_bdfghlmnpru"],
  [7, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"],
  [8, "&*,;XZ"],
  [10, '!"()?'],
  [11, "'+|"],
  [12, "#>"],
  [13, "\0$@[]~"],
  [14, "^}"],
  [15, "<`{"],
];

/** Character by 2^bits + code: the code is canonical, so that lengths and order give all of it. */
const HUFFMAN_CODES = huffmanCodes();

function huffmanCodes(): ReadonlyMap<number, string> {
  const codes = new Map<number, string>();
  let code = 0;
  let lastBits = HUFFMAN_LENGTHS[0]![0];
  for (const [bits, characters] of HUFFMAN_LENGTHS) {
    code *= 2 ** (bits - lastBits);
    lastBits = bits;
    for (const character of characters) codes.set(2 ** bits + code++, character);
  }
  return codes;
}

function decodeHuffman(bytes: Buffer): string | undefined {
  let text = "";
  let code = 1;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code = code * 2 + ((byte >> bit) & 1);
      const character = HUFFMAN_CODES.get(code);
      if (character !== undefined) {
        text += character;
        code = 1;
      } else if (code >= 2 ** 16) return undefined;
    }
  }
  return /^1{1,8}$/.test(code.toString(2)) ? text : undefined; // padding: up to 7 bits of 1
}
