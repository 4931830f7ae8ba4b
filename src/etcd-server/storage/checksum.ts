/**
 * Checksums of rows: SQLite detects damage to the structure of its file, not to the content of cells. CRC-32 (zlib) detects
 * accidental damage, not manipulation.
 */

import { crc32 } from "node:zlib";

/** The values that the store writes to cells; a damaged file may contain anything. */
export type Cell = number | bigint | string | Uint8Array;

/** The checksum of a row's cells in their order. */
export const checksumOf = (cells: readonly Cell[]): number =>
  cells.reduce<number>((sum, cell) => {
    const bytes = cell instanceof Uint8Array ? cell : `${cell},`;
    return crc32(bytes, sum);
  }, 0);

/** Whether `checksum` matches the cells, both as read. */
export const isIntact = (cells: readonly (Cell | null | undefined)[], checksum: unknown): boolean =>
  cells.every((cell) => cell !== null && cell !== undefined) &&
  checksumOf(cells as readonly Cell[]) === Number(checksum);
