/**
 * The actions of EC2's query API that routing needs, on a VPC in memory.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Operations.html
 */

import { Ec2Refusal, type Eni, type RouteTable, type Vpc } from "./vpc.ts";
import { element, list } from "./xml.ts";

const NAMESPACE = ' xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"';
const PAGE_SIZE = 100;

/** Does what a form asks for; the answer's XML. Throws Ec2Refusal. */
export function runAction(vpc: Vpc, form: URLSearchParams): string {
  const action = form.get("Action") ?? "";
  const run = ACTIONS[action];
  if (run === undefined)
    throw new Ec2Refusal("InvalidAction", `The action ${action} is not valid for this web service.`);
  return element(
    `${action}Response`,
    [element("requestId", "00000000-0000-0000-0000-000000000000"), ...run(vpc, form)],
    NAMESPACE,
  );
}

const ACTIONS: Readonly<Record<string, (vpc: Vpc, form: URLSearchParams) => readonly string[]>> = {
  DescribeInstances(vpc, form) {
    const ids = numbered(form, "InstanceId");
    const all = ids.length > 0 ? ids : [...vpc.interfaces.values()].map(({ instanceId }) => instanceId);
    return [
      list(
        "reservationSet",
        all.map((id) => [list("instancesSet", [instanceXml(vpc.instance(id))])]),
      ),
    ];
  },
  DescribeRouteTables(vpc, form) {
    const ids = numbered(form, "RouteTableId");
    const tables = ids.length > 0 ? ids.map((id) => vpc.table(id)) : [...vpc.tables.values()];
    const filters = filtersOf(form);
    const found = tables.filter((table) => filters.every(([name, values]) => matches(table, name, values)));
    const first = Number(form.get("NextToken") ?? 0);
    const next = first + PAGE_SIZE;
    return [
      list(
        "routeTableSet",
        found.slice(first, next).map((table) => tableXml(vpc, table)),
      ),
      element("nextToken", next < found.length ? String(next) : undefined),
    ];
  },
  CreateRoute(vpc, form) {
    vpc.createRoute(
      required(form, "RouteTableId"),
      destinationOf(form),
      required(form, "NetworkInterfaceId"),
    );
    return DONE;
  },
  ReplaceRoute(vpc, form) {
    vpc.replaceRoute(
      required(form, "RouteTableId"),
      destinationOf(form),
      required(form, "NetworkInterfaceId"),
    );
    return DONE;
  },
  DeleteRoute(vpc, form) {
    vpc.deleteRoute(required(form, "RouteTableId"), destinationOf(form));
    return DONE;
  },
  ModifyNetworkInterfaceAttribute(vpc, form) {
    const value = required(form, "SourceDestCheck.Value");
    vpc.setSourceDestCheck(required(form, "NetworkInterfaceId"), value === "true");
    return DONE;
  },
};

const DONE = [element("return", "true")];

function instanceXml(interfaces: readonly Eni[]): string[] {
  const [first] = interfaces;
  return [
    element("instanceId", first!.instanceId),
    element("vpcId", first!.vpcId),
    list("networkInterfaceSet", interfaces.map(interfaceXml)),
  ];
}

function interfaceXml({ id, subnetId, vpcId, sourceDestCheck, addresses }: Eni): string[] {
  const ipv4 = addresses.filter((address) => !address.includes(":"));
  const ipv6 = addresses.filter((address) => address.includes(":"));
  return [
    element("networkInterfaceId", id),
    element("subnetId", subnetId),
    element("vpcId", vpcId),
    element("sourceDestCheck", String(sourceDestCheck)),
    element("privateIpAddress", ipv4[0]),
    list(
      "privateIpAddressesSet",
      ipv4.map((address) => [element("privateIpAddress", address)]),
    ),
    list(
      "ipv6AddressesSet",
      ipv6.map((address) => [element("ipv6Address", address)]),
    ),
  ];
}

function tableXml(vpc: Vpc, { id, vpcId, isMain, subnets, routes }: RouteTable): string[] {
  const associations = [
    ...(isMain ? [[element("main", "true"), element("routeTableId", id)]] : []),
    ...[...subnets].map((subnetId) => [element("main", "false"), element("subnetId", subnetId)]),
  ];
  const items = [...routes].map(([destination, target]) => [
    element(destination.includes(":") ? "destinationIpv6CidrBlock" : "destinationCidrBlock", destination),
    element(target.startsWith("eni-") ? "networkInterfaceId" : "gatewayId", target),
    element("state", vpc.isActive(target) ? "active" : "blackhole"),
    element("origin", "CreateRoute"),
  ]);
  return [
    element("routeTableId", id),
    element("vpcId", vpcId),
    list("associationSet", associations),
    list("routeSet", items),
  ];
}

function matches({ vpcId, isMain, subnets }: RouteTable, name: string, values: readonly string[]): boolean {
  if (name === "vpc-id") return values.includes(vpcId);
  if (name === "association.main") return values.includes(String(isMain));
  if (name === "association.subnet-id") return values.some((value) => subnets.has(value));
  throw new Ec2Refusal("InvalidParameterValue", `The filter '${name}' is invalid`);
}

const destinationOf = (form: URLSearchParams): string =>
  form.get("DestinationIpv6CidrBlock") ?? required(form, "DestinationCidrBlock");

function required(form: URLSearchParams, name: string): string {
  const value = form.get(name);
  if (value !== null && value !== "") return value;
  throw new Ec2Refusal("MissingParameter", `The request must contain the parameter ${name}`);
}

/** The values of "Name.1", "Name.2", … */
function numbered(form: URLSearchParams, name: string): string[] {
  const values: string[] = [];
  for (let number = 1; ; number++) {
    const value = form.get(`${name}.${number}`);
    if (value === null) return values;
    values.push(value);
  }
}

function filtersOf(form: URLSearchParams): (readonly [name: string, values: readonly string[]])[] {
  const filters: (readonly [string, readonly string[]])[] = [];
  for (let number = 1; form.has(`Filter.${number}.Name`); number++)
    filters.push([form.get(`Filter.${number}.Name`)!, numbered(form, `Filter.${number}.Value`)]);
  return filters;
}
