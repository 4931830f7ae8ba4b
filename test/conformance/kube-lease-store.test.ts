/**
 * The suite on the Kubernetes store: nodes that are called like a lease's key, and have its value in their annotations.
 *
 * Only what every store does: Kubernetes gives out the subnets itself, and its leases do not expire, so that there is no
 * allocation, no reservation, no renewal in time.
 */

import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { silentLogger } from "../../src/base/logger.ts";
import { KubeApiServer } from "../../src/kube-server/kube-api-server.ts";
import { makeNode } from "../../src/kube-server/objects/node-object.ts";
import { annotationNames } from "../../src/lease/kube/annotations.ts";
import { attributesOf } from "../../src/lease/kube/node-lease.ts";
import { readOwnNodeRecord } from "../../src/lease/kube/node-record.ts";
import { encodeLeaseValue, isProblem } from "../../src/lease/lease-codec.ts";
import { annotated, openKubeStore, PREFIX, temporaryDirectory } from "../support/kube-store.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import { describeWatching } from "./lease-store-watching.suite.ts";

/** The annotations for a lease's value, invalid where that is invalid. */
function annotationsOf(value: string): Record<string, string | null> {
  let members: Record<string, unknown> | null | undefined;
  try {
    members = JSON.parse(value);
  } catch {}
  if (members === undefined) return { "kube-subnet-manager": "true", "public-ip": value };
  const { PublicIP, BackendType, BackendData } = members ?? {};
  return {
    "kube-subnet-manager": "true",
    "public-ip": PublicIP === undefined ? null : String(PublicIP),
    "backend-type": String(BackendType ?? ""),
    "backend-data": Array.isArray(members) ? value : JSON.stringify(BackendData ?? null),
  };
}

describeWatching("Kubernetes", async () => {
  await using parts = new AsyncDisposableStack();
  const api = parts.use(await KubeApiServer.start());
  const line = parts.use(await startTcpProxy(api.port));
  const directory = parts.use(temporaryDirectory());
  const configPath = directory.at("net-conf.json");
  let hosts = 0;
  let configs = 0;
  const owned = parts.move();
  return {
    open({ logger = silentLogger } = {}) {
      const subnet = `10.5.${128 + hosts++}.0`;
      api.nodes.create(makeNode(`${subnet}-24`, { podCIDRs: [`${subnet}/24`] }));
      const options = { netConfigPath: configPath };
      return openKubeStore(`http://127.0.0.1:${line.port}`, `${subnet}-24`, options, { logger });
    },
    // As a ConfigMap's volume is updated: a new directory, a new link, and the link takes the old one's place.
    async writeConfig(text) {
      const data = `..data-${++configs}`;
      mkdirSync(directory.at(data));
      writeFileSync(join(directory.at(data), "net-conf.json"), text);
      symlinkSync(data, directory.at("..data_tmp"));
      renameSync(directory.at("..data_tmp"), directory.at("..data"));
      if (configs === 1) symlinkSync(join("..data", "net-conf.json"), configPath);
    },
    async write(key, value) {
      const patch = annotated(annotationsOf(value));
      if (api.nodes.get(key) === undefined) {
        api.nodes.create(makeNode(key, { podCIDRs: [key.replace(/-(\d+)$/, "/$1")] }));
      }
      api.nodes.patch(key, patch);
    },
    remove: async (key) => void api.nodes.delete(key),
    revoke: async (key) => void api.nodes.delete(key),
    async read(key) {
      const record = readOwnNodeRecord(api.nodes.get(key), annotationNames(PREFIX));
      const attributes = record && attributesOf(record);
      if (attributes === undefined || isProblem(attributes)) return undefined;
      return { value: encodeLeaseValue(attributes), expires: false };
    },
    async gap(meanwhile) {
      await line.cut();
      await meanwhile();
      api.compact();
      await line.restore();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
});
