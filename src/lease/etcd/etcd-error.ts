/**
 * Error messages for etcd, which say what to do. gRPC statuses, HTTP/2, TLS and socket errors are all converted here, once;
 * the rest of the store sees only {@link StoreError}s. No message contains a password or token.
 */

import { Code, ConnectError } from "@connectrpc/connect";
import { messageOf, StoreError, type StoreErrorCode } from "../../base/error.ts";
import { DialTimeout, type NetworkAdvice, networkReason } from "../network-failure.ts";
import type { EtcdSettings } from "./etcd-options.ts";

/** A failed request to one endpoint. */
export interface EtcdFailure {
  readonly code: StoreErrorCode;
  readonly reason: string;
  /** Whether the endpoint is the cause, so that another one may work. */
  readonly tryNext: boolean;
  /** Whether a new authentication token may help. */
  readonly staleToken: boolean;
}

const ADVICE: NetworkAdvice = {
  refused: ": is etcd running there?",
  otherName: "",
  authority: "an authority trusted here: give the right one with --etcd-cafile",
  clientCertificate: "--etcd-certfile and --etcd-keyfile",
};

/**
 * etcd's own errors by their text, which is all that distinguishes them (etcd, api/v3rpc/rpctypes/error.go). {user} and
 * {prefix} are filled in.
 */
const SERVER_REASONS: readonly (readonly [
  pattern: RegExp,
  code: StoreErrorCode,
  reason: string,
  more?: Partial<EtcdFailure>,
])[] = [
  [
    /invalid auth token|revision of auth store is old/,
    "UNAUTHENTICATED",
    "the session with etcd expired",
    { staleToken: true },
  ],
  [
    /authentication failed/,
    "UNAUTHENTICATED",
    "does not accept the password of {user}; check --etcd-username and --etcd-password",
  ],
  [
    /user name is empty|user name not found/,
    "UNAUTHENTICATED",
    "wants a user and password: give --etcd-username and --etcd-password",
  ],
  [
    /permission denied/,
    "UNAUTHENTICATED",
    "{user} may not read and write {prefix}/; grant a role for this prefix (etcdctl role grant-permission)",
  ],
  [/requested lease not found/, "NOT_FOUND", "the etcd lease does not exist any more"],
  [/required revision has been compacted/, "COMPACTED", "the revision asked for is compacted"],
  [
    /database space exceeded/,
    "UNAVAILABLE",
    "its database is full: compact, defragment, then etcdctl alarm disarm",
    { tryNext: false },
  ],
];

/** Whether authentication is switched off at the server, so that the password is not needed. */
export const isAuthenticationDisabled = (error: unknown): boolean =>
  error instanceof ConnectError && /authentication is not enabled/.test(error.rawMessage);

/** What a failed request to `endpoint` means; `hasWorked` = it has answered before. */
export function describeFailure(
  error: unknown,
  endpoint: string,
  hasWorked: boolean,
  settings: EtcdSettings,
): EtcdFailure {
  const failure = (code: StoreErrorCode, reason: string, more?: Partial<EtcdFailure>): EtcdFailure => ({
    code,
    reason: `${endpoint}: ${reason}`,
    tryNext: code === "UNAVAILABLE",
    staleToken: false,
    ...more,
  });
  if (causesOf(error).some((each) => each instanceof DialTimeout)) {
    return failure("UNAVAILABLE", "does not answer");
  }
  for (const nodeCode of nodeCodes(error)) {
    const known = networkReason(nodeCode, ADVICE);
    if (known !== undefined) return failure(...known, { tryNext: true });
  }
  const text = error instanceof ConnectError ? error.rawMessage : messageOf(error);
  const known = SERVER_REASONS.find(([pattern]) => pattern.test(text));
  if (known !== undefined) {
    const [, code, reason, more] = known;
    const user = settings.user === undefined ? "this host" : `user ${settings.user.name}`;
    return failure(code, reason.replace("{user}", user).replace("{prefix}", settings.prefix), more);
  }
  switch (error instanceof ConnectError ? error.code : Code.Unknown) {
    case Code.DeadlineExceeded:
      return failure("UNAVAILABLE", "did not answer in time");
    case Code.Unauthenticated:
    case Code.PermissionDenied:
      return failure("UNAUTHENTICATED", text);
    case Code.Unavailable:
    case Code.ResourceExhausted:
      return failure("UNAVAILABLE", text);
    case Code.Aborted:
    case Code.Canceled:
    case Code.Internal:
    case Code.Unknown:
      return failure("UNAVAILABLE", `the connection broke (${text})${hasWorked ? "" : schemeHint(endpoint)}`);
    default:
      return failure("INVALID", text);
  }
}

/** A mismatch of plain HTTP/2 and TLS has no error of its own: the connection just ends. */
const schemeHint = (endpoint: string): string =>
  endpoint.startsWith("http:")
    ? "; if it serves TLS, write https://"
    : "; if it serves no TLS, write http://";

/** One error for the failures at all endpoints. */
export function summarize(failures: readonly EtcdFailure[], cause: unknown): StoreError {
  const { code } = failures.find((failure) => failure.code === "UNAUTHENTICATED") ?? failures[0]!;
  const reasons = failures.map((failure) => failure.reason).join("; ");
  return new StoreError(code, `etcd at ${reasons}`, { cause });
}

/** The codes of the errors that caused each other, outermost first. */
const nodeCodes = (error: unknown): readonly string[] =>
  causesOf(error)
    .map((each) => ("code" in each ? each.code : undefined))
    .filter((code) => typeof code === "string");

function causesOf(error: unknown): readonly Error[] {
  const causes: Error[] = [];
  for (let each = error; each instanceof Error && causes.length < 8; each = each.cause) causes.push(each);
  return causes;
}
