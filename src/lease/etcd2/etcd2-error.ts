/**
 * Error messages for etcd's v2 API, which say what to do. Sockets and TLS have those of etcd v3; here are the API's own
 * refusals. No message contains a password.
 */

import type { StoreErrorCode } from "../../base/error.ts";
import { describeFailure, type EtcdFailure } from "../etcd/etcd-error.ts";
import type { EtcdSettings } from "../etcd/etcd-options.ts";
import { Silence } from "../network-failure.ts";
import {
  ECODE_LEADER_ELECT,
  ECODE_NOT_DIR,
  ECODE_RAFT_INTERNAL,
  ECODE_UNAUTHORIZED,
  ECODE_WATCHER_CLEARED,
  type KeysRefusal,
} from "./keys-api.ts";
import type { KeysEndpoint } from "./keys-endpoint.ts";

/** An answer that does not fit the request. */
export class UnusableAnswer extends Error {
  readonly status: number;
  readonly refusal: KeysRefusal | undefined;
  constructor(status: number, refusal: KeysRefusal | undefined) {
    super(`HTTP ${status}`);
    this.status = status;
    this.refusal = refusal;
  }
}

/** The member has lost the others. */
export class NoLeader extends Error {}

/** Refusals that pass with time, or at another member. */
const PASSING: readonly number[] = [ECODE_RAFT_INTERNAL, ECODE_LEADER_ELECT, ECODE_WATCHER_CLEARED];

/** What a failed request to `endpoint` means. */
export function describeKeysFailure(
  error: unknown,
  { url, hasWorked }: KeysEndpoint,
  settings: EtcdSettings,
): EtcdFailure {
  const failure = (code: StoreErrorCode, reason: string): EtcdFailure => ({
    code,
    reason: `${url}: ${reason}`,
    tryNext: code === "UNAVAILABLE",
    staleToken: false,
  });
  if (error instanceof Silence) return failure("UNAVAILABLE", "did not answer in time");
  if (error instanceof NoLeader)
    return failure("UNAVAILABLE", "has no leader: it cannot reach the other members");
  if (error instanceof UnusableAnswer) return failure(...reasonOf(error, settings));
  return describeFailure(error, url, hasWorked, settings);
}

function reasonOf(
  { status, refusal }: UnusableAnswer,
  { user, prefix }: EtcdSettings,
): [code: StoreErrorCode, reason: string] {
  if (refusal?.errorCode === ECODE_UNAUTHORIZED || status === 401 || status === 403) {
    const advice =
      user === undefined
        ? "wants a user and password: give --etcd-username and --etcd-password"
        : `does not let user ${user.name} read and write ${prefix}/*; check --etcd-username, --etcd-password and the ` +
          "user's roles (ETCDCTL_API=2 etcdctl role grant)";
    return ["UNAUTHENTICATED", advice];
  }
  if (refusal?.errorCode === ECODE_NOT_DIR) {
    return [
      "INVALID",
      `${refusal.cause} is a key where a directory is needed: delete it, or choose another --etcd-prefix`,
    ];
  }
  if (refusal !== undefined) {
    const text = `etcd's error ${refusal.errorCode}: ${refusal.message} (${refusal.cause})`;
    return [PASSING.includes(refusal.errorCode) || status >= 500 ? "UNAVAILABLE" : "INVALID", text];
  }
  if (status === 404) {
    return [
      "UNAVAILABLE",
      "this etcd has no v2 API: start it with --enable-v2=true, or use --datastore=etcd3",
    ];
  }
  if (status >= 500 || status === 429) return ["UNAVAILABLE", `answers HTTP ${status}`];
  return ["INVALID", `its answer (HTTP ${status}) is none of etcd's v2 API: is the address right?`];
}
