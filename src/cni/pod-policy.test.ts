/** ADD waits for the pod's network policies: against a socket that answers as flanneld does, or does not. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeBed } from "../../test/support/cni-plugin-bed.ts";
import { policySocketOf } from "../config/policy-socket.ts";

const POD = { CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u1" };

/** A bed with a socket that answers each line; `asked` has the lines. */
async function bedWith(t: TestContext, answer: string | ((line: string) => string)) {
  const bed = makeBed(t);
  const asked: unknown[] = [];
  const server: Server = createServer((socket) => {
    socket.setEncoding("utf8").once("data", (line: string) => {
      asked.push(JSON.parse(line));
      socket.end(typeof answer === "string" ? answer : answer(line));
    });
  });
  const listen = () => once(server.listen(join(bed.root, "policy.sock")), "listening");
  t.after(() => server.close());
  return { bed, asked, listen };
}

test("ADD tells flanneld which pod starts with which addresses, and waits for its answer", async (t) => {
  const { bed, asked, listen } = await bedWith(t, '{"ready":true}\n');
  await listen();
  assert.equal((await bed.run("ADD", { failClosed: true }, POD)).exitCode, 0);
  assert.deepEqual(asked, [{ namespace: "shop", name: "web-0", uid: "u1", addresses: ["10.5.72.3"] }]);
  bed.on(
    "ADD",
    `echo '{"cniVersion":"0.2.0","ip4":{"ip":"10.5.72.4/24"},"ip6":{"ip":"fd00::4/64"}}'; exit 0`,
  );
  assert.equal((await bed.run("ADD", { failClosed: true, cniVersion: "0.2.0" }, POD)).exitCode, 0);
  assert.deepEqual((asked[1] as { addresses: unknown }).addresses, ["10.5.72.4", "fd00::4"]);
});

test("ADD waits for a flanneld that is being restarted", async (t) => {
  const { bed, asked, listen } = await bedWith(t, '{"ready":true}\n');
  const adding = bed.run("ADD", { failClosed: true }, POD);
  await new Promise((resolve) => setImmediate(resolve));
  await listen();
  assert.equal((await adding).exitCode, 0);
  assert.equal(asked.length, 1);
});

test("failClosed: true fails ADD so that the runtime retries, and the interface is deleted", async (t) => {
  const { bed, listen } = await bedWith(t, '{"error":"the policies are not known yet"}\n');
  await listen();
  const { exitCode, json } = await bed.run("ADD", { failClosed: true }, POD);
  assert.equal(exitCode, 1);
  assert.equal(json.code, 11);
  assert.equal(json.msg, "the pod's network policies are not in effect: the policies are not known yet");
  assert.deepEqual(
    bed.calls().map(({ call }) => call.split(" ")[0]),
    ["ADD", "DEL"],
  );
  assert.deepEqual(bed.kept(), []);
});

test("failClosed: false lets the pod start, and says why it may be unfiltered", async (t) => {
  const { bed, listen } = await bedWith(t, "no JSON\n");
  await listen();
  const { exitCode, stderr } = await bed.run("ADD", { failClosed: false }, POD);
  assert.equal(exitCode, 0);
  assert.match(stderr, /policies are not in effect; the pod starts.*malformed answer "no JSON/);
});

test("without failClosed nobody is asked; a pod that is not Kubernetes' has no policies", async (t) => {
  const { bed, asked, listen } = await bedWith(t, '{"ready":true}\n');
  await listen();
  assert.equal((await bed.run("ADD", {}, POD)).exitCode, 0);
  const { json } = await bed.run("ADD", { failClosed: true });
  assert.match(json.msg, /CNI_ARGS names no pod \(K8S_POD_NAMESPACE, K8S_POD_NAME\)/);
  const wrong = await bed.run("ADD", { failClosed: "yes" }, POD);
  assert.match(wrong.json.msg, /failClosed must be true or false/);
  assert.deepEqual(asked, []);
});

test("the socket is beside the subnet file, or where the config says", async (t) => {
  assert.equal(policySocketOf("/run/flannel/subnet.env"), "/run/flannel/policy.sock");
  assert.equal(policySocketOf("/run/flannel/blue.env"), "/run/flannel/blue-policy.sock");
  assert.equal(policySocketOf("blue"), "blue-policy.sock");
  const { bed, asked, listen } = await bedWith(t, '{"ready":true}\n');
  await listen();
  const config = {
    failClosed: true,
    policySocket: join(bed.root, "policy.sock"),
    subnetFile: join(bed.root, "subnet.env"),
  };
  assert.equal((await bed.run("ADD", config, POD)).exitCode, 0);
  assert.equal(asked.length, 1);
});
