/**
 * What went wrong with the API server, in words that say what to do. HTTP statuses, TLS and socket errors end here, once;
 * further in there are only {@link StoreError}s. No message holds a token.
 */

import { messageOf, StoreError, type StoreErrorCode } from "../../base/error.ts";
import { printable } from "../../base/printable.ts";
import { isObject } from "../../config/json-members.ts";
import type { ApiAccess } from "./api-access.ts";

export interface ApiRequest {
  readonly verb: "get" | "list" | "watch" | "patch";
  readonly resource: "nodes" | "nodes/status" | "pods";
  readonly namespace?: string;
  readonly name?: string;
  readonly query?: Readonly<Record<string, string>>;
  /** A strategic merge patch. */
  readonly patch?: unknown;
}

/** Thrown when a connection takes too long. */
export class DialTimeout extends Error {}
/** Thrown when the server is connected but says nothing. */
export class Silence extends Error {}

/** Longest piece of the server's own words that is passed on. */
const MAX_WORDS = 300;

/** Socket and TLS errors by Node.js's code. */
const NETWORK_REASONS: readonly (readonly [pattern: RegExp, code: StoreErrorCode, reason: string])[] = [
  [/^ECONNREFUSED$/, "UNAVAILABLE", "connection refused"],
  [/^(ENOTFOUND|EAI_AGAIN)$/, "UNAVAILABLE", "the name cannot be resolved"],
  [/^(EHOSTUNREACH|ENETUNREACH)$/, "UNAVAILABLE", "no route to it"],
  [/^ETIMEDOUT$/, "UNAVAILABLE", "does not answer"],
  [/^(ECONNRESET|EPIPE)$/, "UNAVAILABLE", "the connection broke"],
  [/^CERT_HAS_EXPIRED$/, "UNAUTHENTICATED", "its certificate has expired"],
  [
    /^CERT_NOT_YET_VALID$/,
    "UNAUTHENTICATED",
    "its certificate is not valid yet: is this host's clock right?",
  ],
  [
    /^(ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH)$/,
    "UNAUTHENTICATED",
    "its certificate is made out to another name: use a name or address that it holds, or tls-server-name in the kubeconfig",
  ],
  [
    /SELF_SIGNED|UNABLE_TO_|CERT_SIGNATURE|CERT_UNTRUSTED|INVALID_CA/,
    "UNAUTHENTICATED",
    "its certificate is not signed by the authority that flanneld was given (ca.crt of the pod, certificate-authority in the kubeconfig)",
  ],
  [
    /CERTIFICATE_REQUIRED|ALERT_(BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_EXPIRED|CERTIFICATE_UNKNOWN|HANDSHAKE_FAILURE)/,
    "UNAUTHENTICATED",
    "it wants a client certificate that it trusts: check client-certificate and client-key in the kubeconfig",
  ],
  [
    /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|^EPROTO$/,
    "UNAVAILABLE",
    "it does not speak TLS: write http://",
  ],
];

const CODES: Readonly<Record<number, StoreErrorCode>> = {
  401: "UNAUTHENTICATED",
  403: "FORBIDDEN",
  404: "NOT_FOUND",
  409: "CONFLICT",
  410: "COMPACTED",
};

/** A connection that failed, or broke in the middle. */
export function describeBreak(error: unknown, { url }: ApiAccess): StoreError {
  const [code, reason] = breakReason(error);
  return new StoreError(code, `API server ${url}: ${reason}`, { cause: error });
}

function breakReason(error: unknown): readonly [StoreErrorCode, string] {
  if (error instanceof DialTimeout)
    return ["UNAVAILABLE", "does not answer: is it there, and does a firewall let flanneld through?"];
  if (error instanceof Silence) return ["UNAVAILABLE", "is connected, but says nothing"];
  const name = (error as NodeJS.ErrnoException).code ?? "";
  const known = NETWORK_REASONS.find(([pattern]) => pattern.test(name));
  return known === undefined ? ["UNAVAILABLE", messageOf(error)] : [known[1], known[2]];
}

/** An answer that is no success; `body` is its text, a Status if all is well. */
export function describeRefusal(
  request: ApiRequest,
  status: number,
  body: string,
  { url, identity }: ApiAccess,
): StoreError {
  const what = describeRequest(request);
  const words = wordsOf(body);
  const said = words === "" ? `HTTP ${status}` : `HTTP ${status}, ${words}`;
  const code = CODES[status] ?? (status >= 500 || status === 429 ? "UNAVAILABLE" : "INVALID");
  switch (code) {
    case "UNAUTHENTICATED":
      return new StoreError(
        code,
        `API server ${url} does not know flanneld (${said} to ${what}): the credentials of ${identity} are wrong or have expired`,
      );
    case "FORBIDDEN":
      return new StoreError(
        code,
        `API server ${url} forbids flanneld to ${request.verb} ${request.resource} (${words || "HTTP 403"}): ` +
          `its ClusterRole needs a rule with apiGroups [""], resources ["${request.resource}"], verbs ["${request.verb}"], ` +
          "and a ClusterRoleBinding to flanneld's service account",
      );
    default:
      return new StoreError(code, `API server ${url} cannot ${what}: ${said}`);
  }
}

/** "patch nodes/status of n1". */
function describeRequest({ verb, resource, namespace, name }: ApiRequest): string {
  const place = namespace === undefined ? name : `${namespace}/${name}`;
  return place === undefined ? `${verb} ${resource}` : `${verb} ${resource} of ${place}`;
}

/** The message of a Status (meta/v1), or the beginning of whatever came instead. */
function wordsOf(body: string): string {
  let text = body;
  try {
    const status: unknown = JSON.parse(body);
    if (isObject(status) && typeof status.message === "string") text = status.message;
  } catch {
    // a proxy's page, perhaps
  }
  const line = printable(text.trim());
  return line.length > MAX_WORDS ? `${line.slice(0, MAX_WORDS)}…` : line;
}
