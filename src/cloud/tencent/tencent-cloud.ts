/**
 * Routes in the route tables of a Tencent Cloud VPC, each with a CVM as its next hop (gateway type NORMAL_CVM, its address), as
 * Go flannel's tencent-vpc backend makes them.
 * https://www.tencentcloud.com/document/product/215/16724 (CreateRoutes, DeleteRoutes, DescribeRouteTables)
 */

import { containsPrefix, formatPrefix, type Prefix, parsePrefix } from "../../address/prefix.ts";
import { openCredentials } from "../access-key.ts";
import { type Json, objectsAt, shown, textAt, valueAt } from "../answer-json.ts";
import {
  type Cloud,
  CloudError,
  type CloudHost,
  type CloudRoute,
  type CloudSettings,
  type RoutePlace,
} from "../cloud.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import { TencentVpcApi } from "./tencent-api.ts";
import { type TencentInstance, TencentMetadata } from "./tencent-metadata.ts";

const GATEWAY_TYPE = "NORMAL_CVM";
/** Made by a user, and not by the system, a direct connect gateway or a CCN: only these can be deleted. */
const ROUTE_TYPE = "USER";
const PAGE_SIZE = 100;
const MAX_PAGES = 100;

export class TencentCloud implements Cloud {
  readonly name = "Tencent Cloud's VPC API";
  readonly #settings: CloudSettings;
  readonly #metadata: TencentMetadata;
  readonly #api: TencentVpcApi;
  #instance: TencentInstance | undefined;

  /** Throws CloudError for settings that cannot be used. */
  constructor(settings: CloudSettings, ports: CloudPorts) {
    this.#settings = settings;
    const metadata = new TencentMetadata(ports);
    this.#metadata = metadata;
    const credentials = openCredentials(settings, ports, (signal) => metadata.credentials(signal));
    this.#api = new TencentVpcApi(credentials, ports);
  }

  async identify(signal: AbortSignal): Promise<CloudHost> {
    const instance = await this.#metadata.instance(signal);
    this.#instance = instance;
    const { tables, addresses } = this.#settings;
    return {
      ...{ instance: instance.id, target: addresses[0] ?? "" },
      tables: tables.length > 0 ? tables : [await this.#tableOf(instance, signal)],
    };
  }

  /** There is nothing to set: a CVM forwards packets of other addresses. */
  async prepare(_host: CloudHost, _signal: AbortSignal): Promise<readonly string[]> {
    return [];
  }

  async list(
    { tables, target }: CloudHost,
    networks: readonly Prefix[],
    signal: AbortSignal,
  ): Promise<CloudRoute[]> {
    const sets = await this.#tables("route-table-id", tables, signal);
    const { vpc } = this.#instance!;
    for (const table of tables) {
      const set = sets.find((each) => textAt(each, "RouteTableId") === table);
      if (set === undefined) {
        throw new CloudError(
          "NOT_FOUND",
          `Tencent Cloud's VPC API knows no route table ${table} in this region; check Backend.RouteTableID`,
        );
      }
      const its = textAt(set, "VpcId");
      if (its !== vpc) {
        throw new CloudError(
          "CONFLICT",
          `route table ${table} belongs to ${shown(its)}, but this instance is in ${vpc}; check Backend.RouteTableID`,
        );
      }
    }
    return sets.flatMap((set) =>
      objectsAt(set, "RouteSet").flatMap(
        (route) => readRoute(route, textAt(set, "RouteTableId"), target, networks) ?? [],
      ),
    );
  }

  async create(
    { target }: CloudHost,
    { table, destination }: RoutePlace,
    signal: AbortSignal,
  ): Promise<void> {
    const route = {
      ...{ DestinationCidrBlock: destination, GatewayType: GATEWAY_TYPE, GatewayId: target },
      ...{ RouteDescription: "Created by flanneld", Enabled: true },
    };
    await this.#call("CreateRoutes", { RouteTableId: table, Routes: [route] }, signal);
  }

  async replace(host: CloudHost, previous: CloudRoute, signal: AbortSignal): Promise<void> {
    await this.delete(host, previous, signal);
    await this.create(host, previous, signal);
  }

  async delete(_host: CloudHost, { table, id }: CloudRoute, signal: AbortSignal): Promise<void> {
    await this.#call("DeleteRoutes", { RouteTableId: table, Routes: [{ RouteId: Number(id) }] }, signal);
  }

  /** The table of the instance's subnet, else the VPC's main one. */
  async #tableOf({ vpc, subnet }: TencentInstance, signal: AbortSignal): Promise<string> {
    const sets = await this.#tables("vpc-id", [vpc], signal);
    const own = sets.find((set) =>
      objectsAt(set, "AssociationSet").some((each) => textAt(each, "SubnetId") === subnet),
    );
    const table = textAt(own ?? sets.find((set) => valueAt(set, "Main") === true), "RouteTableId");
    if (table !== "") return table;
    throw new CloudError(
      "NOT_FOUND",
      `Tencent Cloud's VPC API knows no route table of ${subnet}, the subnet of this instance in ${vpc}; create one, or set Backend.RouteTableID`,
    );
  }

  /** All pages. */
  async #tables(filter: string, values: readonly string[], signal: AbortSignal): Promise<Json[]> {
    const sets: Json[] = [];
    for (let page = 0; page < MAX_PAGES; page++) {
      const answer = await this.#call(
        "DescribeRouteTables",
        {
          Filters: [{ Name: filter, Values: values }],
          ...{ Offset: `${page * PAGE_SIZE}`, Limit: `${PAGE_SIZE}` },
        },
        signal,
      );
      const found = objectsAt(answer, "RouteTableSet");
      sets.push(...found);
      const total = valueAt(answer, "TotalCount");
      if (typeof total !== "number")
        throw new CloudError(
          "NOT_UNDERSTOOD",
          "Tencent Cloud's VPC API answered no TotalCount of route tables",
        );
      if (found.length === 0 || sets.length >= total) return sets;
    }
    throw new CloudError(
      "NOT_UNDERSTOOD",
      `Tencent Cloud's VPC API answered more than ${MAX_PAGES} pages of tables`,
    );
  }

  #call(action: string, parameters: Json, signal: AbortSignal): Promise<Json> {
    return this.#api.call(action, this.#instance!.region, parameters, signal);
  }
}

/** Undefined for what is none of flannel's business, or cannot be changed. */
function readRoute(
  route: Json,
  table: string,
  own: string,
  networks: readonly Prefix[],
): CloudRoute | undefined {
  const prefix = parsePrefix(textAt(route, "DestinationCidrBlock"));
  const id = valueAt(route, "RouteId");
  if (prefix === undefined || !networks.some((outer) => containsPrefix(outer, prefix))) return undefined;
  if (textAt(route, "RouteType") !== ROUTE_TYPE || typeof id !== "number") return undefined;
  const [type, gateway] = [textAt(route, "GatewayType"), textAt(route, "GatewayId")];
  const isEnabled = valueAt(route, "Enabled") === true;
  return {
    ...{ table, destination: formatPrefix(prefix), id: String(id) },
    target: shown(`${type === GATEWAY_TYPE ? "" : `${type} `}${gateway}${isEnabled ? "" : " (disabled)"}`),
    isOwn: type === GATEWAY_TYPE && gateway === own && isEnabled,
    // The API does not say whether the instance exists.
    isBlackhole: false,
  };
}
