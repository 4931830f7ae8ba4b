/**
 * A fake of Tencent Cloud: the VPC API of 2017-03-12 as far as routes need it, and a metadata service for each CVM instance. It
 * refuses what the real one refuses: unknown keys, wrong signatures and tokens, stale timestamps, missing permissions, unknown
 * tables, duplicates, other kinds of route to the same destination, more routes than the limit. From the public references:
 * https://www.tencentcloud.com/document/product/215/16724 (CreateRoutes; also DeleteRoutes, DescribeRouteTables),
 * https://www.tencentcloud.com/document/product/215/15692 (signature v3) and https://www.tencentcloud.com/document/product/213/4934
 */

import { createHash, createHmac } from "node:crypto";
import { type FakeReply, type FakeRequest, FakeServer } from "./cloud-http.ts";

const REGION = "ap-guangzhou";
const VPC = "vpc-bo5ggyf8";
const TABLE = "rtb-n0yejvje";
const SUBNET = "subnet-9u4wlyf4";
const ROLE = "flannel-node";
/** How far a timestamp may be from the server's clock. */
const SKEW_MS = 5 * 60_000;
const LARGEST_LIMIT = 100;

interface FakeInstance {
  readonly id: string;
  readonly ip: string;
  readonly mac: string;
  subnet: string;
  /** Whether it has a CAM role. */
  hasRole: boolean;
  readonly metadata: FakeServer;
}

interface Route {
  readonly RouteId: number;
  readonly DestinationCidrBlock: string;
  readonly GatewayType: string;
  readonly GatewayId: string;
  readonly RouteType: string;
  readonly Enabled: boolean;
}

interface Table {
  readonly id: string;
  readonly vpc: string;
  readonly isMain: boolean;
  readonly subnets: readonly string[];
  routes: Route[];
}

interface Key {
  readonly secret: string;
  readonly token?: string;
  readonly expiresAtMs?: number;
}

type Parameters = Readonly<Record<string, unknown>>;

export class FakeTencent implements AsyncDisposable {
  readonly instances = new Map<string, FakeInstance>();
  readonly tables: Table[] = [{ id: TABLE, vpc: VPC, isMain: true, subnets: [SUBNET], routes: [] }];
  readonly keys = new Map<string, Key>([["AKID-static", { secret: "static-secret" }]]);
  /** Actions that the key's policies do not allow. */
  readonly denied = new Set<string>();
  /** Routes that a table may have. */
  limit = 50;
  roleSeconds = 6 * 3600;
  wallClockMs: () => number = Date.now;
  /** The API's first, then one for the metadata of each instance. */
  readonly #servers: FakeServer[] = [];
  #count = 0;

  static async start(): Promise<FakeTencent> {
    const fake = new FakeTencent();
    const server = await FakeServer.start({
      label: ({ headers }) => String(headers["x-tc-action"]),
      answer: (request) => fake.#answer(request),
    });
    fake.#servers.push(server);
    return fake;
  }

  get server(): FakeServer {
    return this.#servers[0]!;
  }

  async addInstance(id: string, ip: string): Promise<FakeInstance> {
    const metadata = await FakeServer.start({
      label: ({ path }) => path.replace("/latest/meta-data/", ""),
      answer: (request) => this.#answerMetadata(instance, request),
    });
    this.#servers.push(metadata);
    const mac = `52:54:00:00:00:${(++this.#count).toString(16).padStart(2, "0")}`;
    const instance: FakeInstance = { id, ip, mac, metadata, subnet: SUBNET, hasRole: true };
    this.instances.set(id, instance);
    return instance;
  }

  /** Adds a route behind the API's back. */
  addRoute(
    route: Partial<Route> & Pick<Route, "DestinationCidrBlock" | "GatewayId">,
    table = this.tables[0]!,
  ): void {
    table.routes.push({
      ...{ RouteId: ++this.#count, GatewayType: "NORMAL_CVM", RouteType: "USER", Enabled: true },
      ...route,
    });
  }

  /** "10.5.1.0/24 10.0.0.11", one for each route of the first table, sorted. */
  get table(): string[] {
    return this.tables[0]!.routes.map(
      ({ DestinationCidrBlock, GatewayId }) => `${DestinationCidrBlock} ${GatewayId}`,
    ).sort();
  }

  /** What a process on an instance has in its environment; without keys. */
  environment(id: string): Record<string, string> {
    return {
      TENCENTCLOUD_METADATA_URL: this.instances.get(id)!.metadata.url,
      TENCENTCLOUD_VPC_ENDPOINT: this.server.url,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) await server[Symbol.asyncDispose]();
  }

  #answerMetadata(instance: FakeInstance, { path }: FakeRequest): FakeReply {
    const network = `network/interfaces/macs/${instance.mac}/`;
    switch (decodeURIComponent(path.replace("/latest/meta-data/", ""))) {
      case "instance-id":
        return { body: instance.id };
      case "placement/region":
        return { body: REGION };
      case "mac":
        return { body: instance.mac };
      case `${network}vpc-id`:
        return { body: VPC };
      case `${network}subnet-id`:
        return { body: instance.subnet };
      case "cam/security-credentials/":
        if (instance.hasRole) return { body: ROLE };
        break;
      case `cam/security-credentials/${ROLE}`:
        if (instance.hasRole) return { body: this.#issue() };
    }
    return { status: 404, body: "<html>404 Not Found</html>" };
  }

  #issue(): object {
    const count = ++this.#count;
    const expiresAtMs = this.wallClockMs() + this.roleSeconds * 1000;
    const [id, secret, token] = [`AKID-role-${count}`, `role-secret-${count}`, `role-token-${count}`];
    this.keys.set(id, { secret, token, expiresAtMs });
    const ExpiredTime = Math.floor(expiresAtMs / 1000);
    return { TmpSecretId: id, TmpSecretKey: secret, Token: token, ExpiredTime, Code: "Success" };
  }

  #answer(request: FakeRequest): FakeReply {
    const refusal = this.#authenticate(request);
    if (refusal !== undefined)
      return { ...refusal, headers: { date: new Date(this.wallClockMs()).toUTCString() } };
    const action = String(request.headers["x-tc-action"]);
    if (request.headers["x-tc-version"] !== "2017-03-12")
      return failure("NoSuchVersion", "The version does not exist");
    if (request.headers["x-tc-region"] !== REGION)
      return failure("UnsupportedRegion", "The region is not supported");
    if (this.denied.has(action)) {
      const message = `you are not authorized to perform operation (vpc:${action})`;
      return failure("AuthFailure.UnauthorizedOperation", message);
    }
    const parameters = JSON.parse(request.body) as Parameters;
    if (action === "DescribeRouteTables") return this.#describe(parameters);
    const table = this.tables.find(({ id }) => id === parameters.RouteTableId);
    if (table === undefined)
      return failure("ResourceNotFound", `routeTableId ${String(parameters.RouteTableId)} not found`);
    const routes = parameters.Routes as readonly Route[];
    if (action === "CreateRoutes") return this.#create(table, routes);
    if (action === "DeleteRoutes") return this.#delete(table, routes);
    return failure("InvalidAction", "The request parameter Action is wrong");
  }

  #authenticate(request: FakeRequest): FakeReply | undefined {
    const { headers } = request;
    const authorization = headers.authorization ?? "";
    const [, id = "", date = "", signature] =
      /^TC3-HMAC-SHA256 Credential=([^/]+)\/([\d-]+)\/vpc\/tc3_request, SignedHeaders=content-type;host, Signature=(\w+)$/.exec(
        authorization,
      ) ?? [];
    const key = this.keys.get(id);
    if (key === undefined) return failure("AuthFailure.SecretIdNotFound", "The SecretId is not found");
    const timestamp = String(headers["x-tc-timestamp"]);
    const atMs = Number(timestamp) * 1000;
    if (!(Math.abs(atMs - this.wallClockMs()) <= SKEW_MS)) {
      return failure(
        "AuthFailure.SignatureExpire",
        "The provided credentials expired because the timestamp is more than 5 minutes off",
      );
    }
    const isDate = new Date(atMs).toISOString().startsWith(date);
    if (!isDate || signatureOf(request, key.secret, timestamp, date) !== signature)
      return failure("AuthFailure.SignatureFailure", "The provided credentials could not be validated");
    const isValid = key.expiresAtMs === undefined || key.expiresAtMs > this.wallClockMs();
    if ((headers["x-tc-token"] ?? "") !== (key.token ?? "") || !isValid)
      return failure("AuthFailure.TokenFailure", "The token is invalid or expired");
    return undefined;
  }

  #describe({ Filters, Offset = "0", Limit = "20" }: Parameters): FakeReply {
    const [filter] = Filters as readonly { readonly Name: string; readonly Values: readonly string[] }[];
    if (typeof Offset !== "string" || typeof Limit !== "string" || Number(Limit) > LARGEST_LIMIT)
      return failure("InvalidParameterValue.Range", "Limit is not in the specified range");
    const fieldOf = ({ id, vpc }: Table) => ({ "route-table-id": id, "vpc-id": vpc })[filter!.Name];
    const found = this.tables.filter((table) => filter!.Values.includes(fieldOf(table) ?? ""));
    const RouteTableSet = found
      .slice(Number(Offset), Number(Offset) + Number(Limit))
      .map(({ id, vpc, isMain, subnets, routes }) => ({
        ...{ RouteTableId: id, VpcId: vpc, Main: isMain, RouteSet: routes },
        AssociationSet: subnets.map((SubnetId) => ({ SubnetId, RouteTableId: id })),
      }));
    return { body: { Response: { TotalCount: found.length, RouteTableSet, RequestId: "6ef60bec" } } };
  }

  #create(table: Table, routes: readonly Route[]): FakeReply {
    for (const { DestinationCidrBlock, GatewayType, GatewayId } of routes) {
      if (!/^\d+\.\d+\.\d+\.\d+\/\d+$/.test(DestinationCidrBlock))
        return failure("InvalidParameterValue.Malformed", `${DestinationCidrBlock} is not a CIDR block`);
      if (![...this.instances.values()].some(({ ip }) => ip === GatewayId))
        return failure("InvalidParameter.NextHopMismatch", "The next hop type does not match the gateway");
      const same = table.routes.find((route) => route.DestinationCidrBlock === DestinationCidrBlock);
      if (same !== undefined && same.RouteType !== "USER")
        return failure("UnsupportedOperation.EcmpWithCcnRoute", "ECMP with a CCN route is not supported");
      if (same?.GatewayType === GatewayType)
        return failure("InvalidParameterValue.Duplicate", "The route already exists");
      if (same !== undefined) return failure("UnsupportedOperation.Ecmp", "ECMP is not supported");
      if (table.routes.length >= this.limit)
        return failure("LimitExceeded", "The number of routes exceeds the limit");
      this.addRoute({ DestinationCidrBlock, GatewayType, GatewayId }, table);
    }
    return { body: { Response: { TotalCount: routes.length, RequestId: "6ef60bec" } } };
  }

  #delete(table: Table, routes: readonly Route[]): FakeReply {
    for (const { RouteId } of routes) {
      const route = table.routes.find((each) => each.RouteId === RouteId);
      if (route === undefined) return failure("ResourceNotFound", `routeId ${RouteId} not found`);
      if (route.RouteType !== "USER")
        return failure("UnsupportedOperation.SystemRoute", "A system route cannot be changed");
      table.routes = table.routes.filter((each) => each !== route);
    }
    return { body: { Response: { RequestId: "6ef60bec" } } };
  }
}

const failure = (Code: string, Message: string): FakeReply => ({
  body: { Response: { Error: { Code, Message }, RequestId: "ed93f3cb" } },
});

/** By the reference, step by step, and not by the client's code. */
function signatureOf(
  { headers, body }: FakeRequest,
  secret: string,
  timestamp: string,
  date: string,
): string {
  const hash = (text: string) => createHash("sha256").update(text).digest("hex");
  const sign = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();
  const canonical = `POST\n/\n\ncontent-type:${headers["content-type"]}\nhost:${headers.host}\n\ncontent-type;host\n${hash(body)}`;
  const text = `TC3-HMAC-SHA256\n${timestamp}\n${date}/vpc/tc3_request\n${hash(canonical)}`;
  const key = sign(sign(sign(`TC3${secret}`, date), "vpc"), "tc3_request");
  return sign(key, text).toString("hex");
}
