/**
 * The benchmarks' Kubernetes API server, in a process of its own: what it costs must not be mixed up with what it is there
 * to measure. Does what its parent asks for (bench/support/kube.ts), one call after the other.
 */

import { subscribe } from "node:diagnostics_channel";
import type { IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { KubeApiServer, type KubeObject } from "../../src/kube-server/kube-api-server.ts";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import { KUBE_RULES } from "../../src/lease/kube/rbac.ts";
import { peerAt, peerName } from "./peers.ts";

/** Of a node in use: conditions, images, labels. */
const NODE_BYTES = 8_000;
/** A watch may lag so far behind, some seconds at the pace of these heartbeats; kube-apiserver keeps up to 100,000 changes. */
const HISTORY_LENGTH = 20_000;
const TICK_MS = 5;

interface ServerOptions {
  readonly host: string;
  readonly cert: string;
  readonly key: string;
  readonly token: string;
}

export type KubeCalls = typeof calls;

let server: KubeApiServer;
/** When the last of a listing of nodes had been handed to the network, in ms since the epoch. */
let listedAtMs = 0;
let beats = 0;
const paddingBytes = NODE_BYTES - JSON.stringify(makeNode("node")).length;

const calls = {
  /** Gives the port. */
  async start({ host, cert, key, token }: ServerOptions): Promise<number> {
    const user = "system:serviceaccount:kube-flannel:flannel";
    server = await KubeApiServer.start({
      host,
      tls: { cert, key },
      tokens: [{ token, user, rules: KUBE_RULES }],
      historyLength: HISTORY_LENGTH,
    });
    subscribe("http.server.response.finish", (message) => {
      const { url = "" } = (message as { readonly request: IncomingMessage }).request;
      if (/^\/api\/v1\/nodes\?/.test(url) && !url.includes("watch=")) {
        listedAtMs = performance.timeOrigin + performance.now();
      }
    });
    return server.port;
  },

  /** Nodes of peers `from`…`to` - 1, which are up unless `isBare`: then flannel has not been there yet. */
  addPeers(from: number, to: number, isBare = false): void {
    for (let index = from; index < to; index++) {
      const { subnet, annotations: written } = peerAt(index);
      const podCIDRs = [subnet];
      const annotations = isBare ? {} : written;
      server.nodes.create(makeNode(peerName(index), { podCIDRs, paddingBytes, annotations }));
    }
  },

  /** The node of a host under test, as it is before flanneld's first start. */
  addNode(name: string, podCidr: string): void {
    if (server.nodes.get(name) !== undefined) server.nodes.delete(name);
    server.nodes.create(makeNode(name, { podCIDRs: [podCidr], paddingBytes }));
  },

  /** flannel has never been on this peer. */
  strip(index: number): void {
    const names = Object.keys(peerAt(index).annotations);
    const annotations = Object.fromEntries(names.map((name) => [name, null]));
    server.nodes.patch(peerName(index), { metadata: { annotations } });
  },

  /** As kubelets do: the times of the conditions, node after node. Returns when the last one is made. */
  async heartbeats(count: number, perSecond: number): Promise<void> {
    const nodes = server.nodes.list();
    const startedMs = performance.now();
    for (let made = 0; made < count; ) {
      const due = Math.min(count, ((performance.now() - startedMs) / 1000) * perSecond);
      for (; made < due; made++) beat(nodes[made % nodes.length]!);
      await delay(TICK_MS);
    }
  },

  /** Tells all watches that what they have seen last is forgotten: everything has to be listed again. */
  expire: (): void => server.dropWatches("expired"),

  listedAtMs: (): number => listedAtMs,
  /** How many requests of this verb were answered so far. */
  requests: (verb: string): number => server.requests.filter((request) => request.verb === verb).length,
  watches: (): number => server.watchCount,
};

function beat({ metadata: { name }, status }: KubeObject): void {
  // Whole seconds, which here go faster: no two beats of a node are the same.
  const lastHeartbeatTime = `${new Date(Date.now() + beats++).toISOString().slice(0, 19)}Z`;
  const conditions = status!.conditions!.map((condition) => ({ ...condition, lastHeartbeatTime }));
  server.nodes.patch(name, { status: { conditions } });
}

interface Call {
  readonly id: number;
  readonly name: keyof KubeCalls;
  readonly args: readonly never[];
}

if (process.send !== undefined) {
  process.on("disconnect", () => process.exit());
  process.on("message", async ({ id, name, args }: Call) => {
    try {
      const call = calls[name] as (...args: readonly never[]) => unknown;
      process.send!({ id, value: await call(...args) });
    } catch (error) {
      process.send!({ id, error: String(error) });
    }
  });
}
