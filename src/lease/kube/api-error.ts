/**
 * Errors of the API server with advice for the operator. HTTP statuses, TLS and socket errors become {@link StoreError}s
 * here. No message contains a token.
 */

import { messageOf, StoreError, type StoreErrorCode } from "../../base/error.ts";
import { printable } from "../../base/printable.ts";
import { isObject } from "../../config/json-members.ts";
import { DialTimeout, type NetworkAdvice, networkReason, Silence } from "../network-failure.ts";
import type { ApiAccess } from "./api-access.ts";

/** The resources that are requested, and the API group of each. */
const API_GROUPS = {
  nodes: "",
  "nodes/status": "",
  pods: "",
  namespaces: "",
  networkpolicies: "networking.k8s.io",
} as const;

/** A resource, with its subresource. */
export type ApiResource = keyof typeof API_GROUPS;

/** The API group of a resource; "" = the core group. */
export const apiGroupOf = (resource: ApiResource): string => API_GROUPS[resource];

/** One request: its Kubernetes verb and resource, which also name the missing permission in a message. */
export interface ApiRequest {
  readonly verb: "get" | "list" | "watch" | "patch";
  readonly resource: ApiResource;
  readonly namespace?: string;
  readonly name?: string;
  readonly query?: Readonly<Record<string, string>>;
  /** A strategic merge patch. */
  readonly patch?: unknown;
}

/** Longest part of the server's message that is passed on. */
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

/** A connection that failed or broke. */
export function describeBreak(error: unknown, { url }: ApiAccess): StoreError {
  const [code, reason] = breakReason(error, url);
  return new StoreError(code, `API server ${url}: ${reason}`, { cause: error });
}

function breakReason(error: unknown, url: string): readonly [StoreErrorCode, string] {
  if (error instanceof DialTimeout)
    return ["UNAVAILABLE", "does not answer; check that it runs and that no firewall blocks flanneld"];
  if (error instanceof Silence) return ["UNAVAILABLE", "is connected, but does not answer"];
  const name = (error as NodeJS.ErrnoException).code ?? "";
  if (name === "ECONNRESET" || name === "EPIPE") {
    const hint = url.startsWith("http:") ? "; if it serves TLS, write https://" : "";
    return ["UNAVAILABLE", `the connection broke${hint}`];
  }
  return networkReason(name, ADVICE) ?? ["UNAVAILABLE", messageOf(error)];
}

/** An unsuccessful response; `body` is its text, normally a Status. */
export function describeRefusal(
  request: ApiRequest,
  status: number,
  body: string,
  { url, identity }: ApiAccess,
): StoreError {
  const what = describeRequest(request);
  const words = wordsOf(body);
  const answer = words === "" ? `HTTP ${status}` : `HTTP ${status}, ${words}`;
  const code = CODES[status] ?? (status >= 500 || status === 429 ? "UNAVAILABLE" : "INVALID");
  switch (code) {
    case "UNAUTHENTICATED":
      return new StoreError(
        code,
        `API server ${url} rejects flanneld (${answer} to ${what}): missing, invalid or expired credentials: ${identity}`,
      );
    case "FORBIDDEN":
      return new StoreError(
        code,
        `API server ${url} forbids flanneld to ${request.verb} ${request.resource} (${words || "HTTP 403"}): ` +
          `its ClusterRole needs a rule with apiGroups ["${apiGroupOf(request.resource)}"], resources ["${request.resource}"], verbs ["${request.verb}"], ` +
          "and a ClusterRoleBinding to flanneld's service account",
      );
    default:
      return new StoreError(code, `API server ${url} failed to ${what}: ${answer}`);
  }
}

/** "patch nodes/status of n1". */
function describeRequest({ verb, resource, namespace, name }: ApiRequest): string {
  const place = namespace === undefined ? name : `${namespace}/${name}`;
  return place === undefined ? `${verb} ${resource}` : `${verb} ${resource} of ${place}`;
}

/** The message of a Status (meta/v1), else the beginning of the text. */
function wordsOf(body: string): string {
  let text = body;
  try {
    const status: unknown = JSON.parse(body);
    if (isObject(status) && typeof status.message === "string") text = status.message;
  } catch {
    // perhaps the page of a proxy
  }
  const line = printable(text.trim());
  return line.length > MAX_WORDS ? `${line.slice(0, MAX_WORDS)}…` : line;
}
