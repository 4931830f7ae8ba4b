/**
 * What went wrong with the API server, in words that say what to do. HTTP statuses, TLS and socket errors end here, once;
 * further in there are only {@link StoreError}s. No message holds a token.
 */

import { messageOf, StoreError, type StoreErrorCode } from "../../base/error.ts";
import { printable } from "../../base/printable.ts";
import { isObject } from "../../config/json-members.ts";
import { DialTimeout, type NetworkAdvice, networkReason, Silence } from "../network-failure.ts";
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

/** Longest piece of the server's own words that is passed on. */
const MAX_WORDS = 300;

const ADVICE: NetworkAdvice = {
  refused: "",
  otherName: ", or tls-server-name in the kubeconfig",
  authority:
    "the authority that flanneld was given (ca.crt of the pod, certificate-authority in the kubeconfig; without these, the well-known ones)",
  clientCertificate: "client-certificate and client-key in the kubeconfig",
};

const CODES: Readonly<Record<number, StoreErrorCode>> = {
  401: "UNAUTHENTICATED",
  403: "FORBIDDEN",
  404: "NOT_FOUND",
  409: "CONFLICT",
  410: "COMPACTED",
};

/** A connection that failed, or broke in the middle. */
export function describeBreak(error: unknown, { url }: ApiAccess): StoreError {
  const [code, reason] = breakReason(error, url);
  return new StoreError(code, `API server ${url}: ${reason}`, { cause: error });
}

function breakReason(error: unknown, url: string): readonly [StoreErrorCode, string] {
  if (error instanceof DialTimeout)
    return ["UNAVAILABLE", "does not answer: is it there, and does a firewall let flanneld through?"];
  if (error instanceof Silence) return ["UNAVAILABLE", "is connected, but says nothing"];
  const name = (error as NodeJS.ErrnoException).code ?? "";
  if (name === "ECONNRESET" || name === "EPIPE") {
    const hint = url.startsWith("http:") ? "; if it serves TLS, write https://" : "";
    return ["UNAVAILABLE", `the connection broke${hint}`];
  }
  return networkReason(name, ADVICE) ?? ["UNAVAILABLE", messageOf(error)];
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
