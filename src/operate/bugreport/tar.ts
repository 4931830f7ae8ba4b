/** An archive in the ustar format (POSIX.1-1988), of regular files that only their owner may read. */

const BLOCK_BYTES = 512;
const FILE_MODE = "0000600";

/** One file of the archive. */
export interface TarFile {
  /** At most 100 bytes of ASCII. */
  readonly path: string;
  readonly content: Uint8Array;
}

/** The archive's bytes. `modifiedMs` is the time of all files, in ms since the epoch. */
export function writeTar(files: readonly TarFile[], modifiedMs: number): Buffer {
  const blocks = files.flatMap(({ path, content }) => {
    const padding = (BLOCK_BYTES - (content.length % BLOCK_BYTES)) % BLOCK_BYTES;
    return [headerOf(path, content.length, modifiedMs), content, Buffer.alloc(padding)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK_BYTES)]);
}

function headerOf(path: string, sizeBytes: number, modifiedMs: number): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES);
  if (path.length > 100) throw new RangeError(`${path} is too long for ustar`);
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, "0");
  header.write(path, 0, "ascii");
  header.write(FILE_MODE, 100);
  header.write(octal(0, 7), 108);
  header.write(octal(0, 7), 116);
  header.write(octal(sizeBytes, 11), 124);
  header.write(octal(Math.floor(modifiedMs / 1_000), 11), 136);
  header.write("        0", 148); // blanks for the checksum; type: regular file
  header.write("ustar\u000000", 257);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${octal(sum, 6)}\u0000 `, 148);
  return header;
}
