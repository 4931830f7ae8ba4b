/**
 * A fake of Google Compute Engine: its API v1 as far as routes need it, and a metadata server for each instance. It refuses
 * what the real one refuses: tokens that it did not issue or that expired, missing scopes and permissions, names that are
 * no names, duplicates, instances that do not exist, more routes than the quota. Written from the public references:
 * https://cloud.google.com/compute/docs/reference/rest/v1/routes (also instances, globalOperations)
 * https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys
 * https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-http-errors
 */

import { FakeOperations } from "./cloud-gce-operations.ts";
import { failure, LINKS, labelOf, notFound, scopeFailure } from "./cloud-gce-replies.ts";
import { type FakeReply, type FakeRequest, FakeServer } from "./cloud-http.ts";

const PROJECT = "acme-prod";
const PROJECT_NUMBER = "4711";
const ZONE = "europe-west1-b";
const NETWORK = `projects/${PROJECT}/global/networks/default`;

interface FakeInstance {
  readonly name: string;
  readonly ip: string;
  canIpForward: boolean;
  isRunning: boolean;
  scopes: string[];
  /** Path of the network of its only interface. */
  network: string;
  readonly metadata: FakeServer;
}

interface FakeRoute {
  readonly name: string;
  readonly destRange: string;
  /** Path. */
  readonly network: string;
  /** Path, or undefined for one that leads elsewhere. */
  readonly nextHopInstance?: string | undefined;
  readonly nextHopIp?: string;
  readonly priority: number;
  readonly tags?: readonly string[];
}

export class FakeGce implements AsyncDisposable {
  readonly instances = new Map<string, FakeInstance>();
  readonly routes = new Map<string, FakeRoute>();
  /** Permissions that the service account lacks. */
  readonly denied = new Set<string>();
  /** Static routes that the network may have. */
  routeQuota = 200;
  /** Routes on a page, at most what the request asks for. */
  pageSize = 500;
  readonly operations = new FakeOperations(PROJECT);
  /** Life of a token. */
  tokenSeconds = 3600;
  /** The clock that tokens expire by, in milliseconds. */
  nowMs: () => number = () => performance.now();
  readonly #tokens = new Map<string, { readonly instance: FakeInstance; readonly expiresAtMs: number }>();
  /** The API's first, then one for the metadata of each instance. */
  readonly #servers: FakeServer[] = [];
  #count = 0;

  static async start(): Promise<FakeGce> {
    const fake = new FakeGce();
    const server = await FakeServer.start({
      label: labelOf,
      answer: (request) => fake.#answer(request),
    });
    fake.#servers.push(server);
    return fake;
  }

  get server(): FakeServer {
    return this.#servers[0]!;
  }

  /** Adds an instance with a metadata server of its own. */
  async addInstance(name: string, ip: string): Promise<FakeInstance> {
    const metadata = await FakeServer.start({
      label: ({ path }) => path.replace("/computeMetadata/v1/", ""),
      answer: (request) => this.#answerMetadata(instance, request),
    });
    this.#servers.push(metadata);
    const instance: FakeInstance = {
      ...{ name, ip, metadata, canIpForward: true, isRunning: true, network: NETWORK },
      scopes: ["https://www.googleapis.com/auth/compute", "https://www.googleapis.com/auth/logging.write"],
    };
    this.instances.set(name, instance);
    return instance;
  }

  /** Adds a route behind the API's back. */
  addRoute(route: Partial<FakeRoute> & Pick<FakeRoute, "name" | "destRange">): void {
    this.routes.set(route.name, { network: NETWORK, priority: 1000, ...route });
  }

  /** Path of an instance that may not exist. */
  instancePath(name: string): string {
    return `projects/${PROJECT}/zones/${ZONE}/instances/${name}`;
  }

  /** "10.5.1.0/24 host-1", one for each route, sorted. */
  get table(): string[] {
    return [...this.routes.values()]
      .map(({ destRange, nextHopInstance = "?" }) => `${destRange} ${nextHopInstance.split("/").at(-1)}`)
      .sort();
  }

  /** What a process on an instance has in its environment. */
  environment(name: string): Record<string, string> {
    return {
      GCE_METADATA_HOST: `127.0.0.1:${this.instances.get(name)!.metadata.port}`,
      CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: `${this.server.url}/compute/v1/`,
    };
  }

  /** All tokens expire now. */
  revokeTokens(): void {
    this.#tokens.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) await server[Symbol.asyncDispose]();
  }

  #answerMetadata(instance: FakeInstance, { path, headers }: FakeRequest): FakeReply {
    const flavor = { "metadata-flavor": "Google", server: "Metadata Server for VM" };
    const text = (body: string, status = 200): FakeReply => ({
      status,
      body,
      headers: { ...flavor, "content-type": "application/text" },
    });
    if (headers["metadata-flavor"] !== "Google" || headers["x-forwarded-for"] !== undefined)
      return text("<html>403 Forbidden</html>", 403);
    switch (path.replace("/computeMetadata/v1/", "")) {
      case "instance/name":
        return text(instance.name);
      case "instance/zone":
        return text(`projects/${PROJECT_NUMBER}/zones/${ZONE}`);
      case "instance/service-accounts/default/scopes":
        return text(`${instance.scopes.join("\n")}\n`);
      case "instance/service-accounts/default/token": {
        const token = `ya29.${++this.#count}-${instance.name}`;
        this.#tokens.set(token, { instance, expiresAtMs: this.nowMs() + this.tokenSeconds * 1000 });
        const body = { access_token: token, expires_in: this.tokenSeconds, token_type: "Bearer" };
        return { body, headers: flavor };
      }
      default:
        return text("<html>404 Not Found</html>", 404);
    }
  }

  #answer(request: FakeRequest): FakeReply {
    const { path, method, headers } = request;
    const token = this.#tokens.get(/^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1] ?? "");
    if (token === undefined || token.expiresAtMs <= this.nowMs()) {
      return failure(
        401,
        "authError",
        "Request had invalid authentication credentials. Expected OAuth 2 access token",
      );
    }
    const [, project, rest = ""] = /^\/compute\/v1\/projects\/([^/]+)\/(.+)$/.exec(path) ?? [];
    if (project !== PROJECT && project !== PROJECT_NUMBER)
      return failure(404, "notFound", `The resource 'projects/${project}' was not found`);
    const canRead = token.instance.scopes.some((scope) =>
      /\/(?:compute(?:\.readonly)?|cloud-platform)$/.test(scope),
    );
    const canWrite = token.instance.scopes.some((scope) => /\/(?:compute|cloud-platform)$/.test(scope));
    if (!(method === "GET" || rest.endsWith("/wait") ? canRead : canWrite)) return scopeFailure();
    const [kind, ...names] = rest.replace(/^global\//, "").split("/");
    if (kind === "zones" && names[1] === "instances" && method === "GET") return this.#instance(names[2]!);
    if (kind === "routes" && names.length === 0 && method === "GET") return this.#list(request.query);
    if (kind === "routes" && names.length === 0 && method === "POST") return this.#insert(request.body);
    if (kind === "routes" && method === "GET") return this.#get(names[0]!);
    if (kind === "routes" && method === "DELETE") return this.#delete(names[0]!);
    if (kind === "operations" && (names[1] === "wait" ? method === "POST" : method === "GET"))
      return this.#operation(names[0]!);
    return failure(404, "notFound", "Not Found");
  }

  #instance(name: string): FakeReply {
    const path = this.instancePath(name);
    const refusal = this.#refusal("compute.instances.get", path);
    if (refusal !== undefined) return refusal;
    const instance = this.instances.get(name);
    if (instance === undefined) return notFound(path);
    return {
      body: {
        ...{ kind: "compute#instance", name, canIpForward: instance.canIpForward },
        status: instance.isRunning ? "RUNNING" : "TERMINATED",
        selfLink: LINKS + path,
        networkInterfaces: [{ name: "nic0", networkIP: instance.ip, network: LINKS + instance.network }],
      },
    };
  }

  #list(query: URLSearchParams): FakeReply {
    const refusal = this.#refusal("compute.routes.list", `projects/${PROJECT}`);
    if (refusal !== undefined) return refusal;
    const [, field, pattern] = /^(\w+) eq "(.*)"$/.exec(query.get("filter") ?? 'name eq ".*"') ?? [];
    if (field === undefined) return failure(400, "invalid", "Invalid value for field 'filter'");
    const expression = new RegExp(`^(?:${pattern})$`);
    const items = [...this.routes.values()]
      .map((route) => this.#describe(route))
      .filter((route) => expression.test(String(route[field])))
      .sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1));
    const start = Number(query.get("pageToken") ?? "0");
    const end = start + Math.min(Number(query.get("maxResults") ?? "500"), this.pageSize);
    return {
      body: {
        kind: "compute#routeList",
        ...(items.length > 0 && { items: items.slice(start, end) }),
        ...(end < items.length && { nextPageToken: String(end) }),
      },
    };
  }

  #get(name: string): FakeReply {
    const path = `projects/${PROJECT}/global/routes/${name}`;
    const route = this.routes.get(name);
    return (
      this.#refusal("compute.routes.get", path) ?? (route ? { body: this.#describe(route) } : notFound(path))
    );
  }

  #insert(body: string): FakeReply {
    const route = JSON.parse(body) as FakeRoute;
    const path = `projects/${PROJECT}/global/routes/${route.name}`;
    const { name, destRange, network, nextHopInstance = "" } = route;
    const refusal =
      this.#refusal("compute.routes.create", path) ??
      this.#refusal("compute.networks.updatePolicy", network) ??
      this.#refusal("compute.instances.use", nextHopInstance);
    if (refusal !== undefined) return refusal;
    if (!/^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?$/.test(name))
      return failure(
        400,
        "invalid",
        `Invalid value for field 'resource.name': '${name}'. Must be a match of regex`,
      );
    if (!/^[\d.]+\/\d+$/.test(destRange))
      return failure(400, "invalid", `Invalid value for field 'resource.destRange': '${destRange}'`);
    if (network !== NETWORK) return notFound(network);
    if (!this.instances.has(nextHopInstance.split("/").at(-1)!)) return notFound(nextHopInstance);
    if (this.routes.has(name)) return failure(409, "alreadyExists", `The resource '${path}' already exists`);
    if (this.routes.size >= this.routeQuota) {
      const quota = `Quota 'STATIC_ROUTES_PER_NETWORK' exceeded.  Limit: ${this.routeQuota}.0 globally.`;
      return failure(403, "quotaExceeded", quota);
    }
    return this.operations.begin("insert", path, () => {
      if (this.routes.has(name)) return ["RESOURCE_ALREADY_EXISTS", `The resource '${path}' already exists`];
      this.routes.set(name, route);
      return undefined;
    });
  }

  #delete(name: string): FakeReply {
    const path = `projects/${PROJECT}/global/routes/${name}`;
    const refusal = this.#refusal("compute.routes.delete", path);
    if (refusal !== undefined) return refusal;
    const route = this.routes.get(name);
    if (route === undefined) return notFound(path);
    const network = this.#refusal("compute.networks.updatePolicy", route.network);
    if (network !== undefined) return network;
    return this.operations.begin("delete", path, () => {
      this.routes.delete(name);
      return undefined;
    });
  }

  #operation(name: string): FakeReply {
    const path = `projects/${PROJECT}/global/operations/${name}`;
    return this.#refusal("compute.globalOperations.get", path) ?? this.operations.answer(name);
  }

  #describe(route: FakeRoute): Record<string, unknown> {
    const { nextHopInstance, network } = route;
    const code = nextHopInstance === undefined ? undefined : this.#warning(nextHopInstance);
    return {
      ...{ kind: "compute#route", ...route, network: LINKS + network },
      selfLink: `${LINKS}projects/${PROJECT}/global/routes/${route.name}`,
      ...(nextHopInstance !== undefined && { nextHopInstance: LINKS + nextHopInstance }),
      ...(code !== undefined && { warnings: [{ code, message: "The next hop cannot be used", data: [] }] }),
    };
  }

  #warning(path: string): string | undefined {
    const instance = this.instances.get(path.split("/").at(-1)!);
    if (instance === undefined) return "NEXT_HOP_INSTANCE_NOT_FOUND";
    if (!instance.isRunning) return "NEXT_HOP_NOT_RUNNING";
    return instance.canIpForward ? undefined : "NEXT_HOP_CANNOT_IP_FORWARD";
  }

  #refusal(permission: string, resource: string): FakeReply | undefined {
    if (!this.denied.has(permission)) return undefined;
    return failure(403, "forbidden", `Required '${permission}' permission for '${resource}'`);
  }
}
