/**
 * The error classes of the whole program.
 *
 * An error is wrapped once, at the edge where it enters (a system call, a kernel answer, an RPC, a file), and carries
 * a `code` that callers test through predicates. No caller matches the text of a message.
 */

/** Base of all errors that this program raises on purpose. `code` is an errno name ("ENOENT") or one of ours. */
export class FlannelError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** A system call failed. `code` is the errno name, `errno` its positive number. */
export class SyscallError extends FlannelError {
  readonly errno: number;
  constructor(call: string, errno: number, code: string, detail = "") {
    super(code, `${call}: ${code}${detail === "" ? "" : ` (${detail})`}`);
    this.errno = errno;
  }
}

/** The user's configuration (flag, environment, file, network config) is wrong; the message says what to do. */
export class ConfigError extends FlannelError {
  constructor(message: string, options?: ErrorOptions) {
    super("CONFIG", message, options);
  }
}

/**
 * Codes of {@link StoreError}: what callers distinguish.
 * - `NOT_FOUND`: the key does not exist.
 * - `CONFLICT`: a compare-and-swap lost; the state has changed since it was read.
 * - `LEASE_LOST`: the own subnet is gone or belongs to another host.
 * - `OUT_OF_SUBNETS`: nothing free in SubnetMin…SubnetMax.
 * - `UNAVAILABLE`: no endpoint answers (can go away by itself: retry).
 * - `UNAUTHENTICATED`: wrong password, certificate or token, or (etcd does not distinguish the two) not permitted.
 * - `FORBIDDEN`: known, but not permitted to do this.
 * - `COMPACTED`: the revision asked for is gone: list again.
 * - `INVALID`: the store answered something that makes no sense.
 */
export type StoreErrorCode =
  | "NOT_FOUND"
  | "CONFLICT"
  | "LEASE_LOST"
  | "OUT_OF_SUBNETS"
  | "UNAVAILABLE"
  | "UNAUTHENTICATED"
  | "FORBIDDEN"
  | "COMPACTED"
  | "INVALID";

/** The datastore refused, failed or could not be reached. */
export class StoreError extends FlannelError {
  declare readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/** Whether `error` carries `code`. */
export const hasCode = (error: unknown, code: string): boolean =>
  typeof error === "object" && error !== null && "code" in error && error.code === code;

/** Whether `error` says that the thing asked for does not exist (a key, a file, a device, a process). */
export const isNotFound = (error: unknown): boolean =>
  ["NOT_FOUND", "ENOENT", "ENODEV", "ESRCH", "EADDRNOTAVAIL", "ENXIO"].some((code) => hasCode(error, code));

/** Whether `error` says that the thing to be made is there already. */
export const isAlreadyExists = (error: unknown): boolean => hasCode(error, "EEXIST");

/** One line of text for any thrown value, without a stack trace. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
