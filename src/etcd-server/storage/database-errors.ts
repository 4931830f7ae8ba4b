/** SQLite's result codes and the errors that clients receive for them. Codes: https://www.sqlite.org/rescode.html */

import { messageOf } from "../../base/error.ts";
import { corrupt, noSpace, RpcError } from "../protocol/rpc-error.ts";

const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

/** The primary result code; undefined = not an SQLite error. */
function resultCode(error: unknown): number | undefined {
  return error instanceof Error && "errcode" in error && typeof error.errcode === "number"
    ? error.errcode & 0xff
    : undefined;
}

export const isBusy = (error: unknown): boolean => resultCode(error) === SQLITE_BUSY;
export const isDamage = (error: unknown): boolean =>
  [SQLITE_CORRUPT, SQLITE_NOTADB].includes(resultCode(error) ?? 0);

/** The error for a client whose write failed. */
export function refusalFor(error: unknown): RpcError {
  if (resultCode(error) === SQLITE_FULL) return noSpace();
  if (isDamage(error)) return corrupt();
  return new RpcError("UNAVAILABLE", `etcdserver: failed to write to disk: ${messageOf(error)}`, {
    cause: error,
  });
}
