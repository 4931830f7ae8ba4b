/**
 * Checksums of rows: SQLite notices damage to the structure of its file, not to what is in the cells. CRC-32 as zlib has
 * it: made for accidents, no protection against intent.
 */

import { crc32 } from "node:zlib";

/** What a cell of ours can hold; rows from a damaged file may hold anything. */
export type Cell = number | bigint | string | Uint8Array;

/** The checksum of a row's cells in their order. */
export const checksumOf = (cells: readonly Cell[]): number =>
  cells.reduce<number>((sum, cell) => {
    const bytes = cell instanceof Uint8Array ? cell : `${cell},`;
    return crc32(bytes, sum);
  }, 0);

/** Whether `checksum`, as it was read, is that of the cells as they were read. */
export const isIntact = (cells: readonly (Cell | null | undefined)[], checksum: unknown): boolean =>
  cells.every((cell) => cell !== null && cell !== undefined) &&
  checksumOf(cells as readonly Cell[]) === Number(checksum);
