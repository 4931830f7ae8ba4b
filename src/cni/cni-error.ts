/** Errors of a CNI plugin: an object on stdout, exit code 1 (CNI specification 1.1.0, section 5, "Error"). */

import { FlannelError, messageOf } from "../base/error.ts";

/** Codes of the specification; codes from 100 on are the plugin's own. */
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
  /** libcni's ErrInvalidNetNS: the namespace is not a container's. */
  invalidNamespace: 8,
  /** libcni's ErrInternal: everything else. */
  internal: 999,
} as const;

/** An error that the plugin reports to the runtime. */
export class CniError extends FlannelError {
  /** One of {@link CNI_CODE}, or the delegate's. */
  readonly cniCode: number;
  /** Further information; empty = none. */
  readonly details: string;
  constructor(cniCode: number, message: string, details = "", options?: ErrorOptions) {
    super("CNI", message, options);
    this.cniCode = cniCode;
    this.details = details;
  }
}

/** {@link messageOf} for errors of the engine too: it throws null where it has no memory for an error. */
export const reasonOf = (error: unknown): string => (error === null ? "out of memory" : messageOf(error));

/** The error object for stdout. `cniVersion` is the version of the network config. */
export function formatError(error: CniError, cniVersion: string): string {
  const { cniCode: code, message: msg, details } = error;
  return `${JSON.stringify({ cniVersion, code, msg, ...(details === "" ? {} : { details }) }, undefined, 4)}\n`;
}
