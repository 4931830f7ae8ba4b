/**
 * A VPC in memory: instances with their network interfaces, and route tables. It refuses what EC2 refuses, with its error codes
 * (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html).
 */

import { containsPrefix, formatPrefix, type Prefix, parsePrefix } from "../address/prefix.ts";

/** A refused call. */
export class Ec2Refusal extends Error {
  readonly code: string;
  readonly status: number;
  constructor(code: string, message: string, status = 400) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** An elastic network interface, attached to an instance. */
export interface Eni {
  readonly id: string;
  readonly instanceId: string;
  readonly subnetId: string;
  readonly vpcId: string;
  readonly addresses: readonly string[];
  sourceDestCheck: boolean;
}

export interface RouteTable {
  readonly id: string;
  readonly vpcId: string;
  isMain: boolean;
  /** Ids of the subnets that are associated with it. */
  readonly subnets: Set<string>;
  /** Target by destination in canonical form. */
  readonly routes: Map<string, string>;
}

/** What a VPC is made of at first. */
export interface VpcOptions {
  readonly id?: string;
  readonly subnetId?: string;
  /** The address ranges of the VPC. */
  readonly cidrs: readonly string[];
  /** EC2's quota is 50 by default. */
  readonly routesPerTable?: number;
}

export class Vpc {
  readonly id: string;
  readonly subnetId: string;
  readonly tables = new Map<string, RouteTable>();
  readonly interfaces = new Map<string, Eni>();
  routesPerTable: number;
  /** Called after each change. */
  onChange: () => void = () => {};
  readonly #cidrs: readonly Prefix[];

  constructor({ id = "vpc-0f1a2b3c", subnetId = "subnet-0f1a2b3c", cidrs, routesPerTable = 50 }: VpcOptions) {
    this.id = id;
    this.subnetId = subnetId;
    this.routesPerTable = routesPerTable;
    this.#cidrs = cidrs.map((cidr) => parsePrefix(cidr)!);
    this.addTable("rtb-0f1a2b3c", { isMain: true });
  }

  addTable(
    id: string,
    { isMain = false, vpcId = this.id, subnets = [] as readonly string[] } = {},
  ): RouteTable {
    const table: RouteTable = { id, vpcId, isMain, subnets: new Set(subnets), routes: new Map() };
    this.tables.set(id, table);
    return table;
  }

  /** Adds an instance with one interface; its ids end in `suffix`, 8 hexadecimal digits. */
  addInstance(suffix: string, addresses: readonly string[]): Eni {
    const eni: Eni = {
      ...{ id: `eni-${suffix}`, instanceId: `i-${suffix}`, subnetId: this.subnetId, vpcId: this.id },
      ...{ addresses, sourceDestCheck: true },
    };
    this.interfaces.set(eni.id, eni);
    this.onChange();
    return eni;
  }

  /** Terminates an instance: routes to it become blackholes. */
  removeInstance(instanceId: string): void {
    for (const [id, eni] of this.interfaces) if (eni.instanceId === instanceId) this.interfaces.delete(id);
    this.onChange();
  }

  /** The routes that work: those to interfaces that exist. */
  isActive(target: string): boolean {
    return target === "local" || !target.startsWith("eni-") || this.interfaces.has(target);
  }

  table(id: string): RouteTable {
    const table = this.tables.get(id);
    if (table !== undefined) return table;
    throw new Ec2Refusal("InvalidRouteTableID.NotFound", `The routeTable ID '${id}' does not exist`);
  }

  instance(id: string): readonly Eni[] {
    const found = [...this.interfaces.values()].filter(({ instanceId }) => instanceId === id);
    if (found.length > 0) return found;
    throw new Ec2Refusal("InvalidInstanceID.NotFound", `The instance ID '${id}' does not exist`);
  }

  createRoute(tableId: string, destination: string, eniId: string): void {
    const table = this.table(tableId);
    const place = this.#placeOf(destination);
    this.#checkTarget(table, eniId);
    if (table.routes.has(place))
      throw new Ec2Refusal("RouteAlreadyExists", `The route identified by ${place} already exists.`);
    if (table.routes.size >= this.routesPerTable)
      throw new Ec2Refusal(
        "RouteLimitExceeded",
        `The maximum number of routes has been reached for ${tableId}.`,
      );
    table.routes.set(place, eniId);
    this.onChange();
  }

  replaceRoute(tableId: string, destination: string, eniId: string): void {
    const table = this.table(tableId);
    const place = this.#existing(table, destination);
    this.#checkTarget(table, eniId);
    table.routes.set(place, eniId);
    this.onChange();
  }

  deleteRoute(tableId: string, destination: string): void {
    const table = this.table(tableId);
    table.routes.delete(this.#existing(table, destination));
    this.onChange();
  }

  setSourceDestCheck(eniId: string, isOn: boolean): void {
    this.#interface(eniId).sourceDestCheck = isOn;
    this.onChange();
  }

  #interface(id: string): Eni {
    const eni = this.interfaces.get(id);
    if (eni !== undefined) return eni;
    throw new Ec2Refusal(
      "InvalidNetworkInterfaceID.NotFound",
      `The networkInterface ID '${id}' does not exist`,
    );
  }

  #checkTarget(table: RouteTable, eniId: string): void {
    if (this.#interface(eniId).vpcId === table.vpcId) return;
    const message = `route table ${table.id} and network interface ${eniId} belong to different networks`;
    throw new Ec2Refusal("InvalidParameterValue", message);
  }

  #existing(table: RouteTable, destination: string): string {
    const place = this.#placeOf(destination);
    if (table.routes.has(place)) return place;
    const message = `no route with destination-cidr-block ${place} in route table ${table.id}`;
    throw new Ec2Refusal("InvalidRoute.NotFound", message);
  }

  #placeOf(destination: string): string {
    const prefix = parsePrefix(destination);
    if (prefix === undefined)
      throw new Ec2Refusal(
        "InvalidParameterValue",
        `Value (${destination}) for parameter destinationCidrBlock is invalid.`,
      );
    if (this.#cidrs.some((cidr) => cidr.family === prefix.family && containsPrefix(cidr, prefix)))
      throw new Ec2Refusal(
        "InvalidParameterValue",
        `The destination CIDR block ${destination} is equal to or more specific than one of this VPC's CIDR blocks.`,
      );
    return formatPrefix(prefix);
  }
}
