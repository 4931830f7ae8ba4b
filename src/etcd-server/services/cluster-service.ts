/** The services Cluster and Maintenance of a cluster with one member. */

import {
  AlarmRequest_AlarmAction,
  AlarmRequestSchema,
  AlarmResponseSchema,
  Cluster,
  Maintenance,
  MemberListResponseSchema,
  StatusResponseSchema,
} from "../../etcd-api/rpc_pb.ts";
import { pathOf, type UnaryMethod } from "../grpc/grpc-server.ts";
import { RpcError } from "../protocol/rpc-error.ts";
import type { EmbeddedStore } from "../store/embedded-store.ts";
import { decode, type Encoding, RAFT_TERM } from "./etcd-messages.ts";

/** The version of the API, with the implementation as build metadata (semver.org, 10). */
export const SERVER_VERSION = "3.4.0+flannel-embedded";
/** Shown in `member list`. */
const MEMBER_NAME = "flannel-embedded";

/** Methods by path. `urls`: the server's client URLs. */
export function clusterMethods(
  store: EmbeddedStore,
  encoding: Encoding,
  urls: () => readonly string[],
): [path: string, method: UnaryMethod][] {
  return [
    [
      pathOf(Cluster.method.memberList),
      async () =>
        encoding.response(MemberListResponseSchema, store.revision, {
          members: [{ ID: store.memberId, name: MEMBER_NAME, clientURLs: [...urls()] }],
        }),
    ],
    [
      pathOf(Maintenance.method.status),
      async () =>
        encoding.response(StatusResponseSchema, store.revision, {
          version: SERVER_VERSION,
          dbSize: BigInt(store.sizeBytes),
          dbSizeInUse: BigInt(store.sizeBytes),
          leader: store.memberId,
          raftTerm: RAFT_TERM,
          raftIndex: BigInt(store.revision),
          raftAppliedIndex: BigInt(store.revision),
          errors: store.isHealthy ? [] : ["failed to store the last write; see the log"],
        }),
    ],
    [
      pathOf(Maintenance.method.alarm),
      async (bytes) => {
        const { action } = decode(AlarmRequestSchema, bytes);
        // Alarms are never raised, so none can be disarmed; raising one by hand would have to stop writes.
        if (action === AlarmRequest_AlarmAction.ACTIVATE) {
          throw new RpcError("UNIMPLEMENTED", "the embedded store has no alarms");
        }
        return encoding.response(AlarmResponseSchema, store.revision, {});
      },
    ],
  ];
}
