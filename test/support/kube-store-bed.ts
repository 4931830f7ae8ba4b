/** The Kubernetes API server and the store of one host, for tests of the store. */

import type { TestContext } from "node:test";
import { formatPrefix } from "../../src/address/prefix.ts";
import { KubeApiServer } from "../../src/kube-server/kube-api-server.ts";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import type { KubeStoreOptions } from "../../src/lease/kube/kube-lease-store.ts";
import type { Lease } from "../../src/lease/lease.ts";
import { annotated, attributesOf, keepLog, NETWORK, openKubeStore } from "./kube-store.ts";

/** A server, and the store of the host on node-1, by default with 10.5.1.0/24. */
export async function makeKubeBed(
  t: TestContext,
  {
    podCIDRs = ["10.5.1.0/24"],
    options = {},
  }: { podCIDRs?: readonly string[]; options?: Partial<KubeStoreOptions> } = {},
) {
  const api = await KubeApiServer.start();
  t.after(() => api[Symbol.asyncDispose]());
  api.nodes.create(makeNode("node-1", { podCIDRs }));
  const log = keepLog();
  const open = () => openKubeStore(api.url, "node-1", options, { logger: log });
  const store = await open();
  t.after(() => store[Symbol.asyncDispose]());
  const requests = (verb: string, resource = "nodes") =>
    api.requests.filter((request) => request.verb === verb && request.resource === resource).length;
  return {
    api,
    log,
    open,
    store,
    requests,
    annotate: (annotations: Record<string, string | null>, name = "node-1") =>
      void api.nodes.patch(name, annotated(annotations)),
    assign: (...cidrs: string[]) =>
      void api.nodes.patch("node-1", { spec: { podCIDR: cidrs[0] ?? null, podCIDRs: cidrs } }),
    acquire: () => store.acquire({ network: NETWORK, attributes: attributesOf(1), previous: undefined }),
  };
}

export const subnetsOf = (lease: Lease | undefined): string[] =>
  [lease?.subnets.ipv4, lease?.subnets.ipv6].flatMap((subnet) =>
    subnet === undefined ? [] : [formatPrefix(subnet)],
  );
