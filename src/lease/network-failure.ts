/** Failed connections to a datastore, with advice for the operator: the same for all stores but for the names of their options. */

import type { StoreErrorCode } from "../base/error.ts";

/** Thrown when a connection takes too long; the server has not received the request. */
export class DialTimeout extends Error {}

/** Thrown when a connected server does not answer in time. */
export class Silence extends Error {}

/** What an operator can do about a failed connection, each the end of a sentence. */
export interface NetworkAdvice {
  /** The port is closed; follows "connection refused". */
  readonly refused: string;
  /** The certificate is for another name. */
  readonly otherName: string;
  /** The certificate is not signed by a trusted authority. */
  readonly authority: string;
  /** The server requires a client certificate that it trusts. */
  readonly clientCertificate: string;
}

type AdviceName = keyof NetworkAdvice;

/** Socket and TLS errors by Node.js's code. */
const REASONS: readonly (readonly [
  pattern: RegExp,
  code: StoreErrorCode,
  reason: string,
  advice?: AdviceName,
])[] = [
  [/^ECONNREFUSED$/, "UNAVAILABLE", "connection refused", "refused"],
  [/^(ENOTFOUND|EAI_AGAIN)$/, "UNAVAILABLE", "the name cannot be resolved"],
  [/^ENETUNREACH$/, "UNAVAILABLE", "no route to it"],
  // EHOSTUNREACH: no neighbour answered ARP or NDP. One host that is down gives both, by turns (F20).
  [/^(ETIMEDOUT|EHOSTUNREACH)$/, "UNAVAILABLE", "does not answer"],
  [/^CERT_HAS_EXPIRED$/, "UNAUTHENTICATED", "its certificate has expired"],
  [
    /^CERT_NOT_YET_VALID$/,
    "UNAUTHENTICATED",
    "its certificate is not valid yet: is this host's clock right?",
  ],
  [
    /^(ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH)$/,
    "UNAUTHENTICATED",
    "its certificate is made out to another name: use a name or address that it holds",
    "otherName",
  ],
  [
    /SELF_SIGNED|UNABLE_TO_|CERT_SIGNATURE|CERT_UNTRUSTED|INVALID_CA/,
    "UNAUTHENTICATED",
    "its certificate is not signed by ",
    "authority",
  ],
  [
    /CERTIFICATE_REQUIRED|ALERT_(BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_EXPIRED|CERTIFICATE_UNKNOWN|HANDSHAKE_FAILURE)/,
    "UNAUTHENTICATED",
    "it wants a client certificate that it trusts: check ",
    "clientCertificate",
  ],
  [
    /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|^EPROTO$/,
    "UNAVAILABLE",
    "it does not speak TLS: write http://",
  ],
];

/** What an error with this code means; undefined = it is no network error. */
export function networkReason(
  nodeCode: string,
  advice: NetworkAdvice,
): readonly [code: StoreErrorCode, reason: string] | undefined {
  const known = REASONS.find(([pattern]) => pattern.test(nodeCode));
  if (known === undefined) return undefined;
  const [, code, reason, name] = known;
  return [code, name === undefined ? reason : `${reason}${advice[name]}`];
}
