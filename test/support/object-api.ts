/**
 * A Kubernetes API server that keeps objects of any kind and runs none: enough for helm to install, upgrade, roll back and
 * uninstall. Server-side apply (https://kubernetes.io/docs/reference/using-api/server-side-apply/) has one manager here, so
 * that what is applied replaces what was there.
 */

import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { parse } from "yaml";

interface ApiObject {
  kind?: string;
  metadata: {
    name: string;
    labels?: Record<string, string>;
    [member: string]: unknown;
  };
  [member: string]: unknown;
}

type Answer = readonly [status: number, body: unknown];

/** Kinds by API path: resource, kind, whether it is in a namespace. */
const KINDS: Readonly<Record<string, readonly (readonly [string, string, boolean])[]>> = {
  "/api/v1": [
    ["namespaces", "Namespace", false],
    ["configmaps", "ConfigMap", true],
    ["secrets", "Secret", true],
    ["serviceaccounts", "ServiceAccount", true],
  ],
  "/apis/apps/v1": [["daemonsets", "DaemonSet", true]],
  "/apis/rbac.authorization.k8s.io/v1": [
    ["clusterroles", "ClusterRole", false],
    ["clusterrolebindings", "ClusterRoleBinding", false],
    ["roles", "Role", true],
    ["rolebindings", "RoleBinding", true],
  ],
};

const failure = (code: number, reason: string): Answer => [
  code,
  { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", reason, message: reason, code },
];

export class ObjectApi implements AsyncDisposable {
  /** "http://127.0.0.1:41234". */
  readonly endpoint: string;
  readonly #server: ReturnType<typeof createServer>;
  /** By path: "/api/v1/namespaces/x/secrets/y". */
  readonly #objects = new Map<string, ApiObject>();
  #revision = 0;

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", async (request, response) => {
      const [status, body] = this.#answer(request, await readObject(request));
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
  }

  static async start(): Promise<ObjectApi> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new ObjectApi(server);
  }

  /** All objects of a kind, without what the server adds to their metadata. */
  objects(kind: string): ApiObject[] {
    return [...this.#objects.values()]
      .filter((object) => object.kind === kind)
      .map(({ metadata: { uid: _, resourceVersion: __, creationTimestamp: ___, ...metadata }, ...rest }) => ({
        ...rest,
        metadata: metadata as ApiObject["metadata"],
      }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  #answer({ method, url, headers }: IncomingMessage, body: ApiObject | undefined): Answer {
    const { pathname, searchParams } = new URL(url!, "http://localhost");
    const discovered = method === "GET" ? discover(pathname) : undefined;
    if (discovered !== undefined) return [200, discovered];
    const path = pathname.replace(/\/$/, "");
    const { kind, isCollection } = kindOf(path);
    if (kind === undefined) return failure(404, "NotFound");
    if (isCollection && method === "GET") return [200, this.#list(path, kind, searchParams)];
    const key = isCollection ? `${path}/${body?.metadata.name}` : path;
    const old = this.#objects.get(key);
    switch (method) {
      case "GET":
        return old === undefined ? failure(404, "NotFound") : [200, old];
      case "POST":
        return old === undefined ? [201, this.#put(key, kind, body!)] : failure(409, "AlreadyExists");
      case "PUT":
        return old === undefined ? failure(404, "NotFound") : [200, this.#put(key, kind, body!)];
      case "PATCH":
        if (!headers["content-type"]?.startsWith("application/apply-patch"))
          return failure(415, "UnsupportedMediaType");
        return [old === undefined ? 201 : 200, this.#put(key, kind, body!)];
      case "DELETE":
        return this.#objects.delete(key)
          ? [200, { kind: "Status", apiVersion: "v1", status: "Success" }]
          : failure(404, "NotFound");
      default:
        return failure(405, "MethodNotAllowed");
    }
  }

  #put(key: string, kind: string, object: ApiObject): ApiObject {
    const uid = this.#objects.get(key)?.metadata.uid ?? crypto.randomUUID();
    const server = {
      uid,
      resourceVersion: String(++this.#revision),
      creationTimestamp: "2026-01-01T00:00:00Z",
    };
    const stored = { ...object, kind, metadata: { ...object.metadata, ...server } };
    this.#objects.set(key, stored);
    return stored;
  }

  #list(path: string, kind: string, query: URLSearchParams) {
    const wanted = (query.get("labelSelector") ?? "").split(",").filter((term) => term !== "");
    const items = [...this.#objects]
      .filter(([key]) => key.startsWith(`${path}/`) && !key.slice(path.length + 1).includes("/"))
      .map(([, object]) => object)
      .filter(({ metadata: { labels = {} } }) =>
        wanted.every((term) => {
          const [name, value] = term.split(/==?/) as [string, string];
          return labels[name] === value;
        }),
      );
    return {
      kind: `${kind}List`,
      apiVersion: "v1",
      metadata: { resourceVersion: String(this.#revision) },
      items,
    };
  }
}

/** The object in a request; helm's own records (Secrets) come as protobuf, everything else as JSON or YAML. */
async function readObject(request: IncomingMessage): Promise<ApiObject | undefined> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  if (bytes.length === 0 || request.method === "DELETE") return undefined; // that has options, if anything
  if (request.headers["content-type"] === "application/vnd.kubernetes.protobuf") return readSecret(bytes);
  return parse(bytes.toString()) as ApiObject;
}

/** Field numbers: k8s.io/apimachinery/pkg/runtime (Unknown), meta/v1 (ObjectMeta), api/core/v1 (Secret), generated.proto. */
function readSecret(bytes: Buffer): ApiObject {
  if (bytes.subarray(0, 4).toString("latin1") !== "k8s\0") throw new Error("no protobuf of Kubernetes'");
  const raw = fieldsOf(bytes.subarray(4)).get(2)?.[0];
  const secret = raw && fieldsOf(raw);
  const metadata = secret && fieldsOf(secret.get(1)![0]!);
  const name = metadata?.get(1)?.[0]?.toString();
  if (name === undefined) throw new Error("a Secret without a name");
  const labels = entriesOf(metadata!.get(11)).map(([key, value]) => [key, value.toString()]);
  const data = entriesOf(secret!.get(2)).map(([key, value]) => [key, value.toString("base64")]);
  const type = secret!.get(3)?.[0]?.toString();
  return { metadata: { name, labels: Object.fromEntries(labels) }, data: Object.fromEntries(data), type };
}

/** The length-delimited fields of a message, by number. */
function fieldsOf(bytes: Uint8Array): Map<number, Buffer[]> {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, Buffer[]>();
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (wireType !== WireType.LengthDelimited) reader.skip(wireType);
    else fields.set(number, [...(fields.get(number) ?? []), Buffer.from(reader.bytes())]);
  }
  return fields;
}

const entriesOf = (messages: readonly Buffer[] = []): [string, Buffer][] =>
  messages.map((message) => {
    const entry = fieldsOf(message);
    return [entry.get(1)![0]!.toString(), entry.get(2)?.[0] ?? Buffer.alloc(0)];
  });

/** What a client asks before it asks for objects; undefined = something else. */
function discover(path: string): unknown {
  if (path === "/version") return { major: "1", minor: "35", gitVersion: "v1.35.0" };
  if (path === "/api") return { kind: "APIVersions", versions: ["v1"] };
  if (path === "/apis") {
    const groups = Object.keys(KINDS)
      .filter((prefix) => prefix.startsWith("/apis/"))
      .map((prefix) => {
        const [, , name, version] = prefix.split("/");
        const preferredVersion = { groupVersion: `${name}/${version}`, version };
        return { name, versions: [preferredVersion], preferredVersion };
      });
    return { kind: "APIGroupList", apiVersion: "v1", groups };
  }
  const kinds = KINDS[path];
  if (kinds === undefined) return undefined;
  const verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
  const resources = kinds.map(([name, kind, namespaced]) => ({
    name,
    singularName: "",
    namespaced,
    kind,
    verbs,
  }));
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: path.replace(/^\/apis?\//, ""),
    resources,
  };
}

function kindOf(path: string): { readonly kind: string | undefined; readonly isCollection: boolean } {
  const prefix = Object.keys(KINDS).find((each) => path.startsWith(`${each}/`));
  if (prefix === undefined) return { kind: undefined, isCollection: false };
  const words = path.slice(prefix.length + 1).split("/");
  const [resource, name] = words[0] === "namespaces" && words.length > 2 ? words.slice(2) : words;
  const kind = KINDS[prefix]!.find(([each]) => each === resource)?.[1];
  return { kind, isCollection: name === undefined };
}
