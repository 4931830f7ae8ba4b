/**
 * A fake of Alibaba Cloud: the VPC API of 2016-04-28 as far as routes need it, and a metadata service for each ECS instance. It
 * refuses what the real one refuses: unknown keys, wrong signatures, stale timestamps, repeated nonces, missing permissions,
 * unknown tables, duplicates, changes while another is under way, more routes than the quota. From the public references:
 * https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-createrouteentry (also deleterouteentry,
 * describerouteentrylist, describevswitchattributes) and https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
 */

import { createHmac } from "node:crypto";
import { type FakeReply, type FakeRequest, FakeServer } from "./cloud-http.ts";

const REGION = "cn-hangzhou";
const TABLE = "vtb-bp145q7glnuzdv";
const ROLE = "flannel-node";
/** How far a timestamp may be from the server's clock. */
const SKEW_MS = 15 * 60_000;

interface FakeInstance {
  readonly id: string;
  readonly ip: string;
  vSwitch: string;
  /** Whether metadata needs a session token. */
  isHardened: boolean;
  /** Whether it has a RAM role. */
  hasRole: boolean;
  readonly metadata: FakeServer;
}

interface Entry {
  readonly id: string;
  readonly table: string;
  readonly destination: string;
  readonly hops: readonly string[];
  readonly type: "Custom" | "System";
  /** Listings until a change is done. */
  pending: number;
  isLeaving: boolean;
}

interface Key {
  readonly secret: string;
  readonly token?: string;
  readonly expiresAtMs?: number;
}

export class FakeAli implements AsyncDisposable {
  readonly instances = new Map<string, FakeInstance>();
  readonly tables = new Set([TABLE]);
  readonly keys = new Map<string, Key>([["LTAI-static", { secret: "static-secret" }]]);
  entries: Entry[] = [];
  /** Actions that the key's policies do not allow. */
  readonly denied = new Set<string>();
  /** Custom routes that a table may have. */
  quota = 200;
  /** Entries on a page, at most what the request asks for. */
  pageSize = 100;
  /** Listings until a change of a route is done. */
  pendingListings = 1;
  roleSeconds = 6 * 3600;
  wallClockMs: () => number = Date.now;
  readonly #nonces = new Set<string>();
  /** The API's first, then one for the metadata of each instance. */
  readonly #servers: FakeServer[] = [];
  #count = 0;

  static async start(): Promise<FakeAli> {
    const fake = new FakeAli();
    const server = await FakeServer.start({
      label: ({ body }) => new URLSearchParams(body).get("Action") ?? "none",
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
      label: ({ method, path }) => `${method} ${path.replace(/^\/latest\//, "")}`,
      answer: (request) => this.#answerMetadata(instance, request),
    });
    this.#servers.push(metadata);
    const instance: FakeInstance = {
      ...{ id, ip, metadata, vSwitch: "vsw-bp1s5fnvk4gn", isHardened: false, hasRole: true },
    };
    this.instances.set(id, instance);
    return instance;
  }

  /** Adds a route behind the API's back. */
  addEntry(destination: string, ...hops: string[]): Entry {
    const entry: Entry = {
      ...{ id: `rte-${++this.#count}`, table: TABLE, destination, hops, type: "Custom" },
      ...{ pending: 0, isLeaving: false },
    };
    this.entries.push(entry);
    return entry;
  }

  /** "10.5.1.0/24 i-1", one for each route that is not being deleted, sorted. */
  get table(): string[] {
    const stays = this.entries.filter(({ isLeaving }) => !isLeaving);
    return stays.map(({ destination, hops }) => `${destination} ${hops.join("+")}`).sort();
  }

  /** What a process on an instance has in its environment; without keys. */
  environment(id: string): Record<string, string> {
    return {
      ALIBABA_CLOUD_METADATA_URL: this.instances.get(id)!.metadata.url,
      ALIBABA_CLOUD_VPC_ENDPOINT: this.server.url,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) await server[Symbol.asyncDispose]();
  }

  #answerMetadata(instance: FakeInstance, { method, path, headers }: FakeRequest): FakeReply {
    const token = `session-of-${instance.id}`;
    if (method === "PUT" && path === "/latest/api/token") {
      const isGood = Number(headers["x-aliyun-ecs-metadata-token-ttl-seconds"]) > 0;
      return isGood ? { body: token } : { status: 400, body: "" };
    }
    if (instance.isHardened && headers["x-aliyun-ecs-metadata-token"] !== token)
      return { status: 403, body: "<html>403 - Forbidden</html>" };
    switch (path.replace("/latest/", "")) {
      case "dynamic/instance-identity/document":
        return { body: { "instance-id": instance.id, "region-id": REGION, "private-ipv4": instance.ip } };
      case "meta-data/vswitch-id":
        return { body: instance.vSwitch };
      case "meta-data/ram/security-credentials/":
        if (instance.hasRole) return { body: ROLE };
        break;
      case `meta-data/ram/security-credentials/${ROLE}`:
        if (instance.hasRole) return { body: this.#issue() };
    }
    return { status: 404, body: "<html>404 - Not Found</html>" };
  }

  #issue(): object {
    const id = `STS.${++this.#count}`;
    const [secret, token] = [`role-secret-${this.#count}`, `role-token-${this.#count}`];
    const expiresAtMs = this.wallClockMs() + this.roleSeconds * 1000;
    this.keys.set(id, { secret, token, expiresAtMs });
    const Expiration = new Date(expiresAtMs).toISOString().replace(/\.\d+Z$/, "Z");
    return { AccessKeyId: id, AccessKeySecret: secret, SecurityToken: token, Expiration, Code: "Success" };
  }

  #answer({ method, body }: FakeRequest): FakeReply {
    const query = new URLSearchParams(body);
    const refusal = this.#authenticate(method, query);
    if (refusal !== undefined)
      return { ...refusal, headers: { date: new Date(this.wallClockMs()).toUTCString() } };
    const action = query.get("Action") ?? "";
    if (this.denied.has(action))
      return failure(
        403,
        "Forbidden.RAM",
        "User not authorized to operate on the specified resource, or this API doesn't support RAM.",
      );
    if (query.get("RegionId") !== REGION)
      return failure(404, "InvalidRegionId.NotFound", "The specified RegionId does not exist");
    if (action === "DescribeVSwitchAttributes") return this.#vSwitch(query.get("VSwitchId") ?? "");
    if (!this.tables.has(query.get("RouteTableId") ?? ""))
      return failure(404, "InvalidRouteTableId.NotFound", "Specified route table does not exist.");
    if (action === "DescribeRouteEntryList") return this.#list(query);
    if (action === "CreateRouteEntry") return this.#create(query);
    if (action === "DeleteRouteEntry") return this.#delete(query);
    return failure(
      404,
      "InvalidApi.NotFound",
      "Specified api is not found, please check your url and method.",
    );
  }

  #authenticate(method: string, query: URLSearchParams): FakeReply | undefined {
    const key = this.keys.get(query.get("AccessKeyId") ?? "");
    if (key === undefined)
      return failure(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.");
    const at = Date.parse(query.get("Timestamp") ?? "");
    if (!(Math.abs(at - this.wallClockMs()) <= SKEW_MS))
      return failure(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.");
    if (signatureOf(method, query, key.secret) !== query.get("Signature"))
      return failure(
        400,
        "SignatureDoesNotMatch",
        `Specified signature is not matched with our calculation. server string to sign is:${encodeURIComponent(query.toString())}`,
      );
    const nonce = query.get("SignatureNonce") ?? "";
    if (nonce === "" || this.#nonces.has(nonce))
      return failure(400, "SignatureNonceUsed", "Specified signature nonce was used already.");
    this.#nonces.add(nonce);
    if ((key.token ?? "") !== (query.get("SecurityToken") ?? ""))
      return failure(400, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.");
    if (key.expiresAtMs !== undefined && key.expiresAtMs <= this.wallClockMs())
      return failure(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.");
    return undefined;
  }

  #vSwitch(id: string): FakeReply {
    if (![...this.instances.values()].some(({ vSwitch }) => vSwitch === id))
      return failure(404, "InvalidVSwitchId.NotFound", "Specified virtual switch does not exist.");
    const RouteTable = { RouteTableId: TABLE, RouteTableType: "System" };
    return { body: { VSwitchId: id, VpcId: "vpc-bp15zckdt37p", Status: "Available", RouteTable } };
  }

  /** A listing is also the moment at which changes get on. */
  #list(query: URLSearchParams): FakeReply {
    for (const entry of this.entries) if (entry.pending > 0) entry.pending--;
    const stays = ({ isLeaving, pending }: Entry) => !isLeaving || pending > 0;
    this.entries = this.entries.filter(stays);
    const found = this.entries.filter(
      ({ table, destination, type }) =>
        table === query.get("RouteTableId") &&
        destination === (query.get("DestinationCidrBlock") ?? destination) &&
        type === (query.get("RouteEntryType") ?? type),
    );
    const start = Number(query.get("NextToken") ?? "0");
    const end = start + Math.min(Number(query.get("MaxResult") ?? "10"), this.pageSize);
    return {
      body: {
        RequestId: "14A07460",
        RouteEntrys: { RouteEntry: found.slice(start, end).map(describe) },
        ...(end < found.length && { NextToken: String(end) }),
      },
    };
  }

  #create(query: URLSearchParams): FakeReply {
    const destination = query.get("DestinationCidrBlock") ?? "";
    const hop = query.get("NextHopId") ?? "";
    if (this.#isBusy()) return BUSY;
    if (!/^\d+\.\d+\.\d+\.\d+\/\d+$/.test(destination))
      return failure(400, "InvalidCidrBlock", "Specified CIDR block is not valid.");
    if (query.get("NextHopType") !== "Instance" || !this.instances.has(hop))
      return failure(400, "InvalidNextHop.NotFound", "Specified next hop does not exist.");
    if (this.entries.some((entry) => entry.destination === destination))
      return failure(400, "InvalidCIDRBlock.Duplicate", "Specified CIDR block is already exists.");
    if (this.entries.filter(({ type }) => type === "Custom").length >= this.quota)
      return failure(400, "QuotaExceeded", "Route entry quota exceeded in this route table.");
    const entry = this.addEntry(destination, hop);
    entry.pending = this.pendingListings;
    return { body: { RequestId: "0ED8D006", RouteEntryId: entry.id } };
  }

  #delete(query: URLSearchParams): FakeReply {
    const entry = this.entries.find(
      ({ id, destination, hops }) =>
        id === query.get("RouteEntryId") ||
        (destination === query.get("DestinationCidrBlock") && hops.join() === query.get("NextHopId")),
    );
    if (entry === undefined) return failure(400, "InvalidRouteEntry.NotFound", "Route entry not exists.");
    if (this.#isBusy()) return BUSY;
    entry.isLeaving = true;
    entry.pending = this.pendingListings;
    return { body: { RequestId: "9A4B7C02" } };
  }

  #isBusy(): boolean {
    return this.entries.some(({ pending }) => pending > 0);
  }
}

const BUSY = failure(400, "IncorrectRouteEntryStatus", "Some route entry status blocked this operation.");

function failure(status: number, Code: string, Message: string): FakeReply {
  return { status, body: { RequestId: "8C0B1A4D", HostId: "vpc.aliyuncs.com", Code, Message } };
}

function describe({ id, table, destination, hops, type, pending, isLeaving }: Entry): object {
  const Status = pending === 0 ? "Available" : isLeaving ? "Modifying" : "Pending";
  return {
    ...{ RouteEntryId: id, RouteTableId: table, DestinationCidrBlock: destination, Type: type, Status },
    NextHops: { NextHop: hops.map((NextHopId) => ({ NextHopId, NextHopType: "Instance", Enabled: 1 })) },
  };
}

/** By the reference, step by step, and not by the client's code. */
function signatureOf(method: string, query: URLSearchParams, secret: string): string {
  const encode = (text: string) =>
    [...Buffer.from(text)]
      .map((byte) => {
        const char = String.fromCharCode(byte);
        return /[A-Za-z0-9_.~-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
      })
      .join("");
  const pairs = [...query].filter(([name]) => name !== "Signature");
  const canonical = pairs
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join("&");
  return createHmac("sha1", `${secret}&`)
    .update(`${method}&%2F&${encode(canonical)}`)
    .digest("base64");
}
