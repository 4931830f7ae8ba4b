/**
 * The test API server seen by the real kubectl: what a person does to a cluster's nodes works and looks as it does at
 * a real cluster, over HTTP and over HTTPS with a token.
 *
 *     kubectl ──HTTP──▶ KubeApiServer, open to all
 *     kubectl ──HTTPS, Bearer──▶ KubeApiServer with tokens and rules
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { KubeApiServer, type KubeRule } from "../../src/kube-server/kube-api-server.ts";
import { makeNode, makePod } from "../../src/kube-server/objects/node-object.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { TestProcess } from "../support/process.ts";
import { until } from "../support/until.ts";

const COMMAND_MS = 20_000;
const ADMIN = "e2e-admin-token";
const READER = "e2e-reader-token";
const READ: KubeRule = { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] };

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Commands of a user with a home and a kubeconfig of their own. */
class Kubectl implements Disposable {
  readonly home = mkdtempSync(join(tmpdir(), `flannel-kubectl-${process.pid}-`));
  readonly env = { HOME: this.home, KUBECONFIG: join(this.home, "kubeconfig") };

  constructor(server: string, ca?: string, token?: string) {
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "lab", cluster: { server, ...(ca && { "certificate-authority": ca }) } }],
      users: [{ name: "me", user: token === undefined ? {} : { token } }],
      contexts: [{ name: "lab", context: { cluster: "lab", user: "me" } }],
      "current-context": "lab",
    };
    writeFileSync(this.env.KUBECONFIG, JSON.stringify(config), { mode: 0o600 });
  }

  try(...args: string[]): Promise<Result> {
    return new Promise((resolve, reject) => {
      const options = { env: { PATH: process.env.PATH, ...this.env }, timeout: COMMAND_MS };
      execFile("kubectl", args, options, (error, stdout, stderr) => {
        if (error !== null && typeof error.code !== "number") reject(error);
        else resolve({ code: Number(error?.code ?? 0), stdout, stderr });
      });
    });
  }

  /** What it prints; the test fails if the command does. */
  async run(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.try(...args);
    assert.equal(code, 0, `kubectl ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  [Symbol.dispose](): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** The cells of a table as kubectl prints it. */
const cells = (text: string): string[][] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => line.trimEnd().split(/ {2,}/));

for (const scheme of ["http", "https"] as const) {
  describe(`kubectl over ${scheme}`, () => {
    let certificates: Certificates;
    let api: KubeApiServer;
    let kubectl: Kubectl;

    before(async () => {
      certificates = makeCertificates();
      const isTls = scheme === "https";
      const { cert, key } = certificates.server;
      api = await KubeApiServer.start(
        isTls
          ? {
              tls: { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") },
              tokens: [
                {
                  token: ADMIN,
                  user: "admin",
                  rules: [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }],
                },
                { token: READER, user: "reader", rules: [READ] },
              ],
            }
          : {},
      );
      kubectl = new Kubectl(api.url, isTls ? certificates.ca : undefined, isTls ? ADMIN : undefined);
      api.nodes.create(
        makeNode("n1", {
          podCIDRs: ["10.5.1.0/24"],
          labels: { "node-role.kubernetes.io/control-plane": "" },
          paddingBytes: 5_000,
        }),
      );
      api.nodes.create(makeNode("n2"));
      api.pods.create(makePod("p1", { namespace: "kube-flannel", nodeName: "n1" }));
    });
    after(async () => {
      kubectl?.[Symbol.dispose]();
      await api?.[Symbol.asyncDispose]();
      certificates?.[Symbol.dispose]();
    });

    it("shows version, nodes and pods with their columns", async () => {
      assert.match(await kubectl.run("version"), /Server Version:.*v1\.32/);
      const [head, first, second] = cells(await kubectl.run("get", "nodes"));
      assert.deepEqual(head, ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
      assert.deepEqual([first?.[0], first?.[1], first?.[2]], ["n1", "Ready", "control-plane"]);
      assert.deepEqual([second?.[0], second?.[2]], ["n2", "<none>"]);
      const wide = await kubectl.run("get", "nodes", "-o", "wide");
      assert.match(wide, /INTERNAL-IP.*CONTAINER-RUNTIME\nn1 .*192\.0\.2\.1 .*containerd:\/\/1\.7\.27/);
      assert.match(
        await kubectl.run("get", "pods", "-A", "-o", "wide"),
        /kube-flannel +p1 +1\/1 +Running .* n1 /,
      );
      assert.match(await kubectl.run("get", "no", "--chunk-size=1"), /n1 (?:.|\n)*n2 /);
      assert.match(await kubectl.run("describe", "node", "n1"), /PodCIDR: +10\.5\.1\.0\/24/);
    });

    it("gives the objects themselves as JSON and YAML", async () => {
      const list = JSON.parse(await kubectl.run("get", "nodes", "-o", "json"));
      assert.deepEqual(
        list.items.map(({ kind, metadata }: { kind: string; metadata: { name: string } }) => [
          kind,
          metadata.name,
        ]),
        [
          ["Node", "n1"],
          ["Node", "n2"],
        ],
      );
      assert.match(await kubectl.run("get", "node", "n1", "-o", "yaml"), /podCIDR: 10\.5\.1\.0\/24/);
    });

    it("watches", async () => {
      await using watching = new TestProcess("kubectl", ["get", "nodes", "-w"], { env: kubectl.env });
      await until(
        () => api.watchCount === 1 && watching.stdout.includes("n2"),
        "kubectl to watch",
        COMMAND_MS,
      );
      api.nodes.patch("n2", { spec: { unschedulable: true } });
      await until(
        () => /n2 +Ready,SchedulingDisabled/.test(watching.stdout),
        "kubectl to see it",
        COMMAND_MS,
      );
      api.nodes.patch("n2", { spec: { unschedulable: null } });
    });

    it("annotates, changes only what it may, and removes", async () => {
      const key = "flannel.alpha.coreos.com/public-ip-overwrite";
      const read = () => api.nodes.get("n1")?.metadata.annotations?.[key];
      await kubectl.run("annotate", "node", "n1", `${key}=192.0.2.9`);
      assert.equal(read(), "192.0.2.9");
      const refused = await kubectl.try("annotate", "node", "n1", `${key}=192.0.2.10`);
      assert.match(refused.stderr, /--overwrite is false/);
      await kubectl.run("annotate", "--overwrite", "node", "n1", `${key}=192.0.2.10`);
      assert.equal(read(), "192.0.2.10");
      assert.ok(
        api.nodes
          .get("n1")
          ?.metadata.managedFields?.some(
            ({ manager, fieldsV1 }) =>
              /^kubectl/.test(manager) && JSON.stringify(fieldsV1).includes(`f:${key}`),
          ),
        "the object says who changed it",
      );
      await kubectl.run("annotate", "node", "n1", `${key}-`);
      assert.equal(read(), undefined);
      await kubectl.run("label", "node", "n1", "example.com/rack=r1");
      assert.equal(cells(await kubectl.run("get", "nodes", "-l", "example.com/rack=r1")).length, 2);
      const wrong = await kubectl.try("annotate", "node", "n1", "a/b/c=d");
      assert.match(wrong.stderr, /a qualified name must consist of/);
    });

    it("patches: merge, strategic, and the status by itself", async () => {
      const cidr = JSON.stringify({ spec: { podCIDR: "10.5.2.0/24", podCIDRs: ["10.5.2.0/24"] } });
      await kubectl.run("patch", "node", "n2", "--type", "merge", "-p", cidr);
      assert.deepEqual(api.nodes.get("n2")?.spec?.podCIDRs, ["10.5.2.0/24"]);
      const other = await kubectl.try(
        "patch",
        "node",
        "n2",
        "--type",
        "merge",
        "-p",
        cidr.replaceAll("10.5.2", "10.5.3"),
      );
      assert.match(other.stderr, /node updates may not change podCIDR except from "" to valid/);

      const networkOf = () =>
        api.nodes.get("n1")?.status?.conditions?.find(({ type }) => type === "NetworkUnavailable")?.status;
      const condition = { type: "NetworkUnavailable", status: "False", reason: "FlannelIsUp" };
      const status = JSON.stringify({ status: { conditions: [condition] } });
      await kubectl.run("patch", "node", "n1", "-p", status);
      assert.equal(networkOf(), "True", "a patch of the node leaves the status alone");
      if ((await kubectl.run("patch", "--help")).includes("--subresource")) {
        await kubectl.run("patch", "node", "n1", "--subresource=status", "-p", status);
      } else {
        // kubectl before 1.24
        const node = structuredClone(api.nodes.get("n1")!);
        const conditions = node.status!.conditions!.map((one) =>
          one.type === condition.type ? condition : one,
        );
        const file = join(kubectl.home, "node.json");
        writeFileSync(file, JSON.stringify({ ...node, status: { ...node.status, conditions } }));
        await kubectl.run("replace", "--validate=false", "--raw", "/api/v1/nodes/n1/status", "-f", file);
      }
      assert.equal(networkOf(), "False");
      assert.equal(api.nodes.get("n1")?.status?.conditions?.length, 5);
      const json = await kubectl.try("patch", "node", "n1", "--type", "json", "-p", "[]");
      assert.equal(json.code, 1);
      assert.match(json.stderr, /application\/json-patch\+json|unknown format/);
    });

    it("cordons, taints, edits and creates", async () => {
      await kubectl.run("cordon", "n1");
      assert.match(await kubectl.run("get", "node", "n1"), /Ready,SchedulingDisabled/);
      await kubectl.run("uncordon", "n1");
      await kubectl.run("taint", "node", "n1", "example.com/a=b:NoSchedule");
      assert.deepEqual(api.nodes.get("n1")?.spec?.taints, [
        { key: "example.com/a", value: "b", effect: "NoSchedule" },
      ]);
      const file = join(kubectl.home, "new.json");
      writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "Node", metadata: { name: "n3" } }));
      await kubectl.run("create", "--validate=false", "-f", file);
      assert.match((await kubectl.try("create", "--validate=false", "-f", file)).stderr, /AlreadyExists/);
    });

    it("applies, changes and deletes namespaces and network policies", async () => {
      const file = join(kubectl.home, "policy.yaml");
      const policy = (port: number) => `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchExpressions: [{key: tier, operator: In, values: [b, a]}]}}]
    ports: [{port: ${port}}]
`;
      writeFileSync(file, policy(80));
      assert.match(
        await kubectl.run("apply", "-f", file),
        /shop created\n.*networking\.k8s\.io\/web created/,
      );
      assert.match(await kubectl.run("get", "ns", "shop"), /shop +Active/);
      assert.match(await kubectl.run("get", "netpol", "-A"), /shop +web +app=web +/);
      writeFileSync(file, policy(443));
      assert.match(await kubectl.run("apply", "-f", file), /shop unchanged\n.*web configured/);
      assert.match(await kubectl.run("-n", "shop", "describe", "netpol", "web"), /To Port: 443\/TCP/);
      assert.match(await kubectl.run("-n", "shop", "delete", "netpol", "web"), /"web" deleted/);
      assert.match(await kubectl.run("delete", "ns", "shop"), /"shop" deleted/);
    });

    it("deletes, and says what is not there", async () => {
      api.nodes.create(makeNode("doomed"));
      await kubectl.run("delete", "node", "doomed");
      assert.equal(api.nodes.get("doomed"), undefined);
      const { code, stderr } = await kubectl.try("get", "node", "doomed");
      assert.equal(code, 1);
      assert.equal(stderr, 'Error from server (NotFound): nodes "doomed" not found\n');
      await kubectl.run("delete", "pod", "-n", "kube-flannel", "p1");
      assert.equal(api.pods.list().length, 0);
    });

    if (scheme === "https") {
      it("gets an error when its token is unknown or lacks permission", async () => {
        using reader = new Kubectl(api.url, certificates.ca, READER);
        assert.match(await reader.run("get", "nodes"), /n1 /);
        const forbidden = await reader.try("annotate", "node", "n1", "a=b");
        assert.equal(
          forbidden.stderr,
          'Error from server (Forbidden): nodes "n1" is forbidden: User "reader" cannot patch resource "nodes" in API group "" at the cluster scope\n',
        );
        using stranger = new Kubectl(api.url, certificates.ca, "unknown");
        const unauthorized = await stranger.try("get", "nodes");
        assert.match(unauthorized.stderr, /You must be logged in to the server/);
        using careless = new Kubectl(api.url, certificates.stranger.ca, ADMIN);
        assert.match((await careless.try("get", "nodes")).stderr, /x509|certificate/);
      });
    }
  });
}
