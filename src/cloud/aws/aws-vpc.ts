/**
 * Routes in the route tables of an AWS VPC, through EC2's API. The target is the network interface (ENI) that has this host's
 * address. The table is the one that the config names, or the one associated with the interface's subnet, or the VPC's main one.
 */

import type { Prefix } from "../../address/prefix.ts";
import { parsePrefix } from "../../address/prefix.ts";
import { hasCode, messageOf } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import { isWithin } from "../../state/operation.ts";
import {
  type Cloud,
  CloudError,
  type CloudHost,
  type CloudRoute,
  type CloudSettings,
  type RoutePlace,
} from "../cloud.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import { CredentialChain } from "./credentials.ts";
import { callEc2, type Ec2Parameters } from "./ec2-api.ts";
import {
  cloudRoutesOf,
  type Ec2Interface,
  type Ec2RouteTable,
  interfacesOf,
  nextTokenOf,
  routeTablesOf,
} from "./ec2-network.ts";
import { AwsMetadata } from "./metadata.ts";
import type { XmlElement } from "./xml.ts";

/** What the client of AWS needs besides. */
export interface AwsPorts extends CloudPorts {
  /** Text of a file; undefined if it cannot be read. */
  readonly readFile: (path: string) => string | undefined;
  readonly logger: Logger;
}

/** Pages of one listing; a VPC has 200 route tables at most unless its quota was raised. */
const MAX_PAGES = 20;

/** A client for these settings; makes no call yet. */
export const createAwsVpc = (settings: CloudSettings, ports: AwsPorts): Cloud => new AwsVpc(settings, ports);

class AwsVpc implements Cloud {
  readonly name = "EC2 API";
  readonly #settings: CloudSettings;
  readonly #ports: AwsPorts;
  readonly #metadata: AwsMetadata;
  readonly #credentials: CredentialChain;
  #region: string | undefined;
  #instanceId: string | undefined;
  #interface: Ec2Interface | undefined;
  /** What identify found on the way, for the listing that follows. */
  #fresh: Ec2RouteTable | undefined;

  constructor(settings: CloudSettings, ports: AwsPorts) {
    this.#settings = settings;
    this.#ports = ports;
    this.#metadata = new AwsMetadata(ports);
    this.#credentials = new CredentialChain({
      ...ports,
      metadata: this.#metadata,
      stsEndpoint: async (signal) => this.#endpointOf("STS", "sts", await this.#regionOf(signal)),
    });
  }

  async identify(signal: AbortSignal): Promise<CloudHost> {
    const instance = await this.#instanceOf(signal);
    const root = await this.#call("DescribeInstances", { InstanceId: [instance] }, signal);
    const interfaces = interfacesOf(root);
    if (interfaces === undefined)
      throw new CloudError(
        "NOT_FOUND",
        `EC2 knows no instance ${instance} in ${this.#region}; is AWS_REGION right?`,
      );
    const { addresses, tables } = this.#settings;
    const found = interfaces.find((each) => each.addresses.some((address) => addresses.includes(address)));
    if (found === undefined) {
      const known = interfaces.map((each) => `${each.id} has ${each.addresses.join(", ")}`).join("; ");
      throw new CloudError(
        "NOT_FOUND",
        `no network interface of instance ${instance} has ${addresses.join(" or ")} (${known || "it has none"}); ` +
          "name the interface that is in the VPC with --iface",
      );
    }
    this.#interface = found;
    this.#fresh = tables.length === 0 ? await this.#detectTable(found, signal) : undefined;
    return { instance, target: found.id, tables: this.#fresh === undefined ? tables : [this.#fresh.id] };
  }

  async prepare(_host: CloudHost, signal: AbortSignal): Promise<readonly string[]> {
    const { id, sourceDestCheck } = this.#interface!;
    if (sourceDestCheck === false) return [];
    try {
      const parameters = { NetworkInterfaceId: id, "SourceDestCheck.Value": "false" };
      await this.#call("ModifyNetworkInterfaceAttribute", parameters, signal);
      this.#ports.logger.info(`Disabled the source/destination check of ${id}`);
      return [];
    } catch (error) {
      if (!(hasCode(error, "PERMISSION") || hasCode(error, "REFUSED"))) throw error;
      return [
        `The source/destination check of ${id} is on, so that the VPC drops the packets of containers: ${messageOf(error)}; ` +
          `or disable it by hand: aws ec2 modify-network-interface-attribute --network-interface-id ${id} --no-source-dest-check`,
      ];
    }
  }

  async list(host: CloudHost, networks: readonly Prefix[], signal: AbortSignal): Promise<CloudRoute[]> {
    const tables = await this.#tablesOf(host, signal);
    const { id, vpcId } = this.#interface!;
    for (const table of tables) {
      if (table.vpcId !== vpcId)
        throw new CloudError(
          "CONFLICT",
          `route table ${table.id} belongs to ${table.vpcId}, and this host's interface ${id} to ${vpcId}; correct Backend.RouteTableID`,
        );
    }
    return tables
      .flatMap((table) => cloudRoutesOf(table, id))
      .filter(({ destination }) => isWithin(destination, networks));
  }

  async create(host: CloudHost, place: RoutePlace, signal: AbortSignal): Promise<void> {
    await this.#call("CreateRoute", { ...parametersOf(place), NetworkInterfaceId: host.target }, signal);
  }

  /** Go flannel deletes and creates, and its users' policies may allow no more than that. */
  async replace(host: CloudHost, previous: CloudRoute, signal: AbortSignal): Promise<void> {
    try {
      const parameters = { ...parametersOf(previous), NetworkInterfaceId: host.target };
      await this.#call("ReplaceRoute", parameters, signal);
    } catch (error) {
      if (!hasCode(error, "PERMISSION")) throw error;
      await this.delete(host, previous, signal);
      await this.create(host, previous, signal);
    }
  }

  async delete(_host: CloudHost, route: CloudRoute, signal: AbortSignal): Promise<void> {
    await this.#call("DeleteRoute", parametersOf(route), signal);
  }

  /** The host's tables with their routes. Throws CONFLICT if they are others than before. */
  async #tablesOf(host: CloudHost, signal: AbortSignal): Promise<readonly Ec2RouteTable[]> {
    if (this.#settings.tables.length > 0)
      return this.#describeTables({ RouteTableId: this.#settings.tables }, signal);
    const table = this.#fresh ?? (await this.#detectTable(this.#interface!, signal));
    this.#fresh = undefined;
    if (table.id === host.tables[0]) return [table];
    throw new CloudError(
      "CONFLICT",
      `${this.#interface!.subnetId} has the route table ${table.id} now, instead of ${host.tables[0]}`,
    );
  }

  /** The table that is associated with the interface's subnet, or else the VPC's main one. */
  async #detectTable({ subnetId, vpcId }: Ec2Interface, signal: AbortSignal): Promise<Ec2RouteTable> {
    const associated = await this.#describeTables(filtersOf({ "association.subnet-id": subnetId }), signal);
    const tables =
      associated.length > 0
        ? associated
        : await this.#describeTables(filtersOf({ "association.main": "true", "vpc-id": vpcId }), signal);
    if (tables.length === 1) return tables[0]!;
    const ids = tables.map(({ id }) => id).join(", ");
    throw new CloudError(
      tables.length === 0 ? "NOT_FOUND" : "CONFLICT",
      `${tables.length === 0 ? "no route table is" : `several route tables (${ids}) are`} associated with ${subnetId} in ${vpcId}; ` +
        "name the table in Backend.RouteTableID",
    );
  }

  async #describeTables(parameters: Ec2Parameters, signal: AbortSignal): Promise<readonly Ec2RouteTable[]> {
    const tables: Ec2RouteTable[] = [];
    let page: Ec2Parameters = parameters;
    for (let number = 1; number <= MAX_PAGES; number++) {
      const root = await this.#call("DescribeRouteTables", page, signal);
      tables.push(...routeTablesOf(root));
      const token = nextTokenOf(root);
      if (token === undefined) break;
      page = { ...parameters, NextToken: token };
    }
    return tables;
  }

  async #call(action: string, parameters: Ec2Parameters, signal: AbortSignal): Promise<XmlElement> {
    const { http: send, wallClockMs } = this.#ports;
    const region = await this.#regionOf(signal);
    const endpoint = this.#endpointOf("EC2", "ec2", region);
    return callEc2(
      { endpoint, region, send, wallClockMs, credentials: this.#credentials },
      action,
      parameters,
      signal,
    );
  }

  async #instanceOf(signal: AbortSignal): Promise<string> {
    this.#instanceId ??= await this.#metadata.read("meta-data/instance-id", signal);
    if (this.#instanceId !== undefined) return this.#instanceId;
    throw new CloudError(
      "NOT_UNDERSTOOD",
      "the metadata service has no meta-data/instance-id: is this host an EC2 instance?",
    );
  }

  async #regionOf(signal: AbortSignal): Promise<string> {
    const { AWS_REGION, AWS_DEFAULT_REGION } = this.#ports.environment;
    const region = AWS_REGION || AWS_DEFAULT_REGION || this.#region;
    this.#region = region ?? (await this.#metadata.read("meta-data/placement/region", signal));
    if (this.#region !== undefined && /^[a-z0-9-]{1,40}$/.test(this.#region)) return this.#region;
    throw new CloudError("NOT_UNDERSTOOD", "the metadata service names no region; set AWS_REGION");
  }

  /** https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html */
  #endpointOf(variable: "EC2" | "STS", service: string, region: string): URL {
    const { environment } = this.#ports;
    const given = environment[`AWS_ENDPOINT_URL_${variable}`] || environment.AWS_ENDPOINT_URL;
    const isIgnored = environment.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS?.toLowerCase() === "true";
    if (given && !isIgnored) {
      const url = URL.parse(given);
      if (url !== null && /^https?:$/.test(url.protocol)) return url;
      throw new CloudError(
        "REFUSED",
        `AWS_ENDPOINT_URL_${variable} or AWS_ENDPOINT_URL is not an http or https URL`,
      );
    }
    if (environment.AWS_USE_DUALSTACK_ENDPOINT?.toLowerCase() === "true")
      return new URL(
        `https://${service}.${region}.api.${region.startsWith("cn-") ? "amazonwebservices.com.cn" : "aws"}`,
      );
    return new URL(`https://${service}.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`);
  }
}

const parametersOf = ({ table, destination }: RoutePlace): Record<string, string> => ({
  RouteTableId: table,
  [parsePrefix(destination)?.family === 6 ? "DestinationIpv6CidrBlock" : "DestinationCidrBlock"]: destination,
});

const filtersOf = (filters: Readonly<Record<string, string>>): Ec2Parameters =>
  Object.fromEntries(
    Object.entries(filters).flatMap(([name, value], index) => [
      [`Filter.${index + 1}.Name`, name],
      [`Filter.${index + 1}.Value.1`, value],
    ]),
  );
