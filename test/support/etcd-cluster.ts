/**
 * A cluster of three real etcd members on loopback ports, each a process of its own that can be killed, frozen and
 * started again. Killed and removed when disposed.
 *
 * Elections take at most half a second instead of etcd's usual one to two: the tests measure flanneld, not etcd.
 */

import { type EtcdServer, type EtcdServerOptions, freePort, startEtcd } from "./etcd.ts";
import { until } from "./until.ts";

const MEMBERS = 3;
const TIMING = ["--heartbeat-interval", "50", "--election-timeout", "500"];

export interface EtcdCluster extends AsyncDisposable {
  readonly members: readonly EtcdServer[];
  /** The endpoints of the members, in order. */
  readonly endpoints: readonly string[];
  /** The index of the member that leads, once all of `among` (indices; default all) agree on one of them. */
  leader(among?: readonly number[]): Promise<number>;
  /** Moves the leadership to another member. */
  moveLeader(to: number): Promise<void>;
}

/** `flags` are for each member. */
export async function startEtcdCluster(options: EtcdServerOptions = {}): Promise<EtcdCluster> {
  const numbers = Array.from({ length: MEMBERS }, (_, number) => number);
  const peers = await Promise.all(numbers.map(async () => `http://127.0.0.1:${await freePort()}`));
  const initialCluster = peers.map((url, number) => `m${number}=${url}`).join(",");
  const started = await Promise.allSettled(
    numbers.map((number) =>
      startEtcd({
        ...options,
        flags: [
          ...["--name", `m${number}`, "--initial-cluster", initialCluster, ...TIMING],
          ...["--listen-peer-urls", peers[number]!, "--initial-advertise-peer-urls", peers[number]!],
          ...(options.flags ?? []),
        ],
      }),
    ),
  );
  const members = started.filter((each) => each.status === "fulfilled").map((each) => each.value);
  const dispose = async () => {
    await Promise.all(members.map((member) => member[Symbol.asyncDispose]()));
  };
  const failed = started.find((each) => each.status === "rejected");
  if (failed !== undefined) {
    await dispose();
    throw failed.reason;
  }
  const statusOf = async (member: EtcdServer) => {
    const answer = await member.ctl("endpoint", "status", "--write-out=fields");
    const id = (name: string) => new RegExp(`"${name}" : (\\d+)`).exec(answer)?.[1];
    return { id: id("MemberID"), leaderId: id("Leader") };
  };
  const cluster: EtcdCluster = {
    members,
    endpoints: members.map(({ endpoint }) => endpoint),
    async leader(among = numbers) {
      let leader = -1;
      await until(async () => {
        const states = await Promise.all(
          among.map((number) => statusOf(members[number]!).catch(() => undefined)),
        );
        const index = states.findIndex((state) => state !== undefined && state.id === states[0]?.leaderId);
        leader = among[index] ?? -1;
        return leader >= 0 && states.every((state) => state?.leaderId === states[0]?.leaderId);
      }, "a leader that all agree on");
      return leader;
    },
    async moveLeader(to) {
      const { id } = await statusOf(members[to]!);
      const from = members[await cluster.leader()]!;
      await from.ctl("move-leader", BigInt(id!).toString(16));
    },
    [Symbol.asyncDispose]: dispose,
  };
  return cluster;
}
