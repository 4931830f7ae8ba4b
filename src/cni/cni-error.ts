/** What a CNI plugin says when it fails: an object on stdout, exit code 1 (CNI specification 1.1.0, section 5, "Error"). */

import { FlannelError } from "../base/error.ts";

/** Codes of the specification; from 100 on a plugin chooses its own. */
export const CNI_CODE = {
  incompatibleVersion: 1,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decoding: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  /** STATUS: no ADD can succeed. */
  notAvailable: 50,
  /** The namespace is not one that a plugin may work in. libcni's, as the one below: ErrInvalidNetNS. */
  invalidNamespace: 8,
  /** Everything else: ErrInternal. */
  internal: 999,
} as const;

/** An error that the runtime is told. */
export class CniError extends FlannelError {
  readonly cniCode: number;
  /** More than the message says; empty if there is none. */
  readonly details: string;
  constructor(cniCode: number, message: string, details = "", options?: ErrorOptions) {
    super("CNI", message, options);
    this.cniCode = cniCode;
    this.details = details;
  }
}

/** The object for stdout. `cniVersion` is the version in use. */
export function formatError(error: CniError, cniVersion: string): string {
  const { cniCode: code, message: msg, details } = error;
  return `${JSON.stringify({ cniVersion, code, msg, ...(details === "" ? {} : { details }) }, undefined, 4)}\n`;
}
