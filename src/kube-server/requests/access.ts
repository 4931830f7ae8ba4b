/** Authentication and authorization: bearer tokens, client certificates, rules as in a ClusterRole. */

import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { KubeError, unauthorized } from "../objects/kube-error.ts";
import type { ApiRequest } from "./request-target.ts";

/** A bearer token, the user that it authenticates, and what that user may do. */
export interface KubeToken {
  readonly token: string;
  /** "system:serviceaccount:kube-flannel:flannel" */
  readonly user: string;
  readonly rules: readonly KubeRule[];
  /** Unix milliseconds. */
  readonly expiresAtMs?: number;
}

/** As in a ClusterRole: apiGroups, resources ("nodes", "nodes/status", "pods"), verbs; "*" = all. */
export interface KubeRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

/** A user; `rules` undefined = everything is allowed. */
export interface Identity {
  readonly user: string;
  readonly rules: readonly KubeRule[] | undefined;
}

/** The user of requests without credentials. */
export const ANONYMOUS = "system:anonymous";
const ADMINISTRATORS = "system:masters";
/** Readable for authenticated clients (ClusterRole system:discovery), and for all clients (system:public-info-viewer). */
const DISCOVERY = /^\/(?:api|apis|openapi|version|healthz|livez|readyz)(?:\/|$)/;
const PUBLIC = /^\/(?:version|healthz|livez|readyz)\/?$/;

/** Throws KubeError Unauthorized. `tokens` undefined and no certificates requested = no access control. */
export function authenticate(
  request: IncomingMessage,
  tokens: readonly KubeToken[] | undefined,
  asksCertificates: boolean,
): Identity {
  if (tokens === undefined && !asksCertificates) return { user: ANONYMOUS, rules: undefined };
  const subject = asksCertificates ? subjectOf(request.socket as TLSSocket) : undefined;
  if (subject !== undefined) {
    const user = last(subject.CN) ?? "";
    const isAdministrator = tokens === undefined || [subject.O].flat().includes(ADMINISTRATORS);
    if (isAdministrator) return { user, rules: undefined };
    return { user, rules: tokens.find((known) => known.user === user)?.rules ?? [] };
  }
  const { authorization } = request.headers;
  if (authorization === undefined) return { user: ANONYMOUS, rules: [] };
  const bearer = /^Bearer +(\S+) *$/i.exec(authorization)?.[1];
  const known = tokens?.find(({ token }) => token === bearer);
  if (known === undefined || (known.expiresAtMs ?? Infinity) <= Date.now()) throw unauthorized();
  return known;
}

/** Throws KubeError Forbidden. */
export function authorize({ user, rules }: Identity, request: ApiRequest): void {
  if (rules === undefined) return;
  const {
    resource,
    verb,
    name,
    namespace,
    kind: { group },
  } = request;
  const allowed = rules.some(
    (rule) =>
      includes(rule.apiGroups, group) && includes(rule.resources, resource) && includes(rule.verbs, verb),
  );
  if (allowed) return;
  const scope = namespace === undefined ? "at the cluster scope" : `in the namespace "${namespace}"`;
  const [kind] = resource.split("/") as [string];
  throw new KubeError(
    403,
    "Forbidden",
    `${group === "" ? kind : `${kind}.${group}`}${name === undefined ? "" : ` "${name}"`} is forbidden: User "${user}" cannot ${verb} resource "${resource}" in API group "${group}" ${scope}`,
    { ...(name !== undefined && { name }), kind },
  );
}

/** Authorizes a request for a path that is not an object's. Throws KubeError Forbidden. */
export function authorizePath({ user, rules }: Identity, verb: string, path: string): void {
  // A user with all verbs on all resources is an administrator (ClusterRole cluster-admin).
  const isAdministrator = rules?.some((rule) =>
    [rule.apiGroups, rule.resources, rule.verbs].every((list) => list.includes("*")),
  );
  if (
    rules === undefined ||
    isAdministrator ||
    (verb === "get" && (user === ANONYMOUS ? PUBLIC : DISCOVERY).test(path))
  )
    return;
  throw new KubeError(403, "Forbidden", `forbidden: User "${user}" cannot ${verb} path "${path}"`, {});
}

const includes = (list: readonly string[], expected: string): boolean =>
  list.includes(expected) || list.includes("*");

/**
 * The user of the client's certificate; undefined = it presented none. Throws KubeError Unauthorized if the client CA did
 * not sign it.
 */
function subjectOf(socket: TLSSocket): { readonly CN?: unknown; readonly O?: unknown } | undefined {
  const certificate = socket.getPeerCertificate();
  if (certificate?.subject === undefined) return undefined;
  if (!socket.authorized) throw unauthorized();
  return certificate.subject;
}

const last = (value: unknown): string | undefined => {
  const text = [value].flat().at(-1);
  return typeof text === "string" ? text : undefined;
};
