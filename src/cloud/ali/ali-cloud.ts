/**
 * Custom routes in the route tables of an Alibaba Cloud VPC, each with an ECS instance as its next hop, as Go flannel's ali-vpc
 * backend made them. A table takes one change at a time, and each takes a moment.
 * https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-dir-route-table/
 */

import { containsPrefix, formatPrefix, type Prefix, parsePrefix } from "../../address/prefix.ts";
import { sleep } from "../../base/timers.ts";
import { openCredentials } from "../access-key.ts";
import { type Json, objectsAt, shown, textAt } from "../answer-json.ts";
import {
  type Cloud,
  CloudError,
  type CloudHost,
  type CloudRoute,
  type CloudSettings,
  type RoutePlace,
} from "../cloud.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import { type AliInstance, AliMetadata } from "./ali-metadata.ts";
import { AliVpcApi } from "./vpc-api.ts";

const PAGE_SIZE = "100";
const MAX_PAGES = 100;
/** How long a change may take; as Go flannel. */
const CHANGE_TIMEOUT_MS = 60_000;
const MIN_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 8_000;

export class AliCloud implements Cloud {
  readonly name = "Alibaba Cloud's VPC API";
  readonly #settings: CloudSettings;
  readonly #metadata: AliMetadata;
  readonly #api: AliVpcApi;
  readonly #ports: CloudPorts;
  #instance: AliInstance | undefined;

  /** Throws CloudError for settings that cannot be used. */
  constructor(settings: CloudSettings, ports: CloudPorts) {
    this.#settings = settings;
    this.#ports = ports;
    const metadata = new AliMetadata(ports);
    this.#metadata = metadata;
    this.#api = new AliVpcApi(
      openCredentials(settings, ports, (signal) => metadata.credentials(signal)),
      ports,
    );
  }

  async identify(signal: AbortSignal): Promise<CloudHost> {
    const instance = await this.#metadata.instance(signal);
    this.#instance = instance;
    const { tables } = this.#settings;
    return {
      ...{ instance: instance.id, target: instance.id },
      tables: tables.length > 0 ? tables : [await this.#tableOf(instance.vSwitch, signal)],
    };
  }

  async prepare({ instance }: CloudHost, _signal: AbortSignal): Promise<readonly string[]> {
    const address = this.#instance?.address ?? "";
    const { addresses } = this.#settings;
    if (addresses.includes(address)) return [];
    return [
      `Routes lead to the primary network interface of instance ${instance} (${address}), which has none of the addresses ${addresses.join(", ")}; choose that interface with --iface`,
    ];
  }

  async list(
    { tables, target }: CloudHost,
    networks: readonly Prefix[],
    signal: AbortSignal,
  ): Promise<CloudRoute[]> {
    const routes: CloudRoute[] = [];
    for (const table of tables) {
      for (const entry of await this.#entries(table, { RouteEntryType: "Custom" }, signal)) {
        const route = readRoute(entry, table, target, networks);
        if (route !== undefined) routes.push(route);
      }
    }
    return routes;
  }

  async create(
    { target }: CloudHost,
    { table, destination }: RoutePlace,
    signal: AbortSignal,
  ): Promise<void> {
    const place = { RouteTableId: table, DestinationCidrBlock: destination };
    await this.#call(
      "CreateRouteEntry",
      { ...place, NextHopType: "Instance", NextHopId: target, Description: "Created by flanneld" },
      signal,
    );
    await this.#until(
      `the route to ${destination} is not available`,
      async () => {
        const entries = await this.#entries(table, { DestinationCidrBlock: destination }, signal);
        return entries.some((entry) => textAt(entry, "Status") === "Available");
      },
      signal,
    );
  }

  async replace(host: CloudHost, previous: CloudRoute, signal: AbortSignal): Promise<void> {
    const { table, destination } = previous;
    await this.delete(host, previous, signal);
    await this.#until(
      `the previous route to ${destination} is still there`,
      async () => (await this.#entries(table, { DestinationCidrBlock: destination }, signal)).length === 0,
      signal,
    );
    await this.create(host, previous, signal);
  }

  async delete(
    _host: CloudHost,
    { table, destination, target, id }: CloudRoute,
    signal: AbortSignal,
  ): Promise<void> {
    // A route with several next hops has only its id.
    const what: Readonly<Record<string, string>> =
      id === undefined ? { DestinationCidrBlock: destination, NextHopId: target } : { RouteEntryId: id };
    await this.#call("DeleteRouteEntry", { RouteTableId: table, ...what }, signal);
  }

  async #tableOf(vSwitch: string, signal: AbortSignal): Promise<string> {
    const answer = await this.#call("DescribeVSwitchAttributes", { VSwitchId: vSwitch }, signal);
    const table = textAt(answer, "RouteTable", "RouteTableId");
    if (table !== "") return table;
    throw new CloudError(
      "NOT_FOUND",
      `Alibaba Cloud's VPC API names no route table for ${vSwitch}, the vSwitch of this instance; set Backend.RouteTableID`,
    );
  }

  /** All pages. */
  async #entries(
    table: string,
    filter: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Json[]> {
    const entries: Json[] = [];
    let token = "";
    for (let page = 0; page < MAX_PAGES; page++) {
      const parameters = { RouteTableId: table, MaxResult: PAGE_SIZE, ...filter };
      const answer = await this.#call(
        "DescribeRouteEntryList",
        token === "" ? parameters : { ...parameters, NextToken: token },
        signal,
      );
      entries.push(...objectsAt(answer, "RouteEntrys", "RouteEntry"));
      token = textAt(answer, "NextToken");
      if (token === "") return entries;
    }
    throw new CloudError(
      "NOT_UNDERSTOOD",
      `Alibaba Cloud's VPC API answered more than ${MAX_PAGES} pages of routes`,
    );
  }

  /** Asks with growing pauses until it is so; what the API refuses in between counts as "not yet" if it passes. */
  async #until(problem: string, isDone: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
    const { timers } = this.#ports;
    const deadline = timers.nowMs() + CHANGE_TIMEOUT_MS;
    for (let pauseMs = MIN_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
      await sleep(timers, pauseMs, signal);
      if (await isDone()) return;
      if (timers.nowMs() >= deadline)
        throw new CloudError(
          "UNAVAILABLE",
          `Alibaba Cloud's VPC API: ${problem} after ${CHANGE_TIMEOUT_MS / 1000} s`,
        );
    }
  }

  #call(action: string, parameters: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Json> {
    return this.#api.call(action, this.#instance!.region, parameters, signal);
  }
}

/** Undefined for what is none of flannel's business. */
function readRoute(
  entry: Json,
  table: string,
  own: string,
  networks: readonly Prefix[],
): CloudRoute | undefined {
  const prefix = parsePrefix(textAt(entry, "DestinationCidrBlock"));
  if (prefix === undefined || !networks.some((outer) => containsPrefix(outer, prefix))) return undefined;
  if (textAt(entry, "Type") !== "Custom") return undefined;
  const hops = objectsAt(entry, "NextHops", "NextHop");
  const hop = hops[0];
  const target = textAt(hop, "NextHopId");
  const id = textAt(entry, "RouteEntryId");
  return {
    ...{ table, destination: formatPrefix(prefix) },
    target: shown(target) || "nothing",
    // One that is still being made counts: it becomes available by itself.
    isOwn: hops.length === 1 && target === own && textAt(hop, "NextHopType") === "Instance",
    // The API does not say whether the instance exists.
    isBlackhole: false,
    ...(hops.length !== 1 && id !== "" && { id }),
  };
}
