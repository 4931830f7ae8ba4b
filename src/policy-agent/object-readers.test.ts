/** What is taken of objects as the API server sends them, and what is not. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { makeNamespace, makeNetworkPolicy, makePod } from "../kube-server/objects/node-object.ts";
import { JsonReader } from "../lease/kube/json-reader.ts";
import { createObjectParser } from "../policy/parse-objects.ts";
import { parseNetworkPolicy } from "../policy/parse-policy.ts";
import { namespaceReader, networkPolicyReader, podReader } from "./object-readers.ts";

const parser = createObjectParser("n1");
const bytes = (object: unknown) => new JsonReader(Buffer.from(JSON.stringify(object)));
const withVersion = (object: ReturnType<typeof makePod>) => ({
  ...object,
  metadata: { ...object.metadata, resourceVersion: "7", uid: "u" },
});

test("a pod is read as the parser reads the whole object", () => {
  const pod = withVersion(
    makePod("web", {
      ...{
        namespace: "shop",
        nodeName: "n1",
        labels: { app: "web", 'x"y': "ü" },
        podIPs: ["10.0.0.1", "fd00::1"],
      },
      ports: [{ name: "http", containerPort: 80 }, { containerPort: 81 }],
    }),
  );
  const { version, object } = podReader(parser)(bytes(pod));
  assert.equal(version, "7");
  assert.deepEqual(object, parser.pod(pod));
  assert.deepEqual(object!.ports, [{ name: "http", protocol: "TCP", port: 80 }]);
  assert.deepEqual([object!.isLocal, object!.addresses], [true, ["10.0.0.1", "fd00::1"]]);
  const terminating = { ...pod, metadata: { ...pod.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } };
  assert.equal(podReader(parser)(bytes(terminating)).object!.phase, "terminating");
});

test("namespaces and policies are read with all that counts", () => {
  const namespace = withVersion(makeNamespace("shop", { team: "a" }));
  assert.deepEqual(namespaceReader(parser)(bytes(namespace)).object, parser.namespace(namespace));
  const policy = withVersion(
    makeNetworkPolicy("p", { podSelector: {}, egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8" } }] }] }),
  );
  assert.deepEqual(networkPolicyReader()(bytes(policy)).object, parseNetworkPolicy(policy));
});

test("objects without a name or version, and junk, are no objects", () => {
  for (const object of [{}, { metadata: null }, { metadata: 7, spec: [] }, [], null]) {
    const read = podReader(parser)(bytes(object));
    assert.deepEqual([read.version, read.object], [undefined, undefined]);
  }
  const odd = { metadata: { name: "a", namespace: "b" }, spec: { containers: { ports: 1 } }, status: 3 };
  assert.deepEqual(podReader(parser)(bytes(odd)).object!.ports, []);
});
