/**
 * What EC2's answers say about this host's network interface and about route tables.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html, API_DescribeRouteTables.html, API_Route.html
 */

import { formatIp, parseIp } from "../../address/ip.ts";
import { formatPrefix, parsePrefix } from "../../address/prefix.ts";
import type { CloudRoute } from "../cloud.ts";
import { childOf, itemsOf, textOf, type XmlElement } from "./xml.ts";

/** A network interface of the instance. */
export interface Ec2Interface {
  readonly id: string;
  readonly vpcId: string;
  /** The VPC's subnet, which a route table is associated with. */
  readonly subnetId: string;
  /** Whether packets of other addresses are dropped; undefined = unknown. */
  readonly sourceDestCheck: boolean | undefined;
  readonly addresses: readonly string[];
}

/** A route table with its routes; those of prefix lists are left out. */
export interface Ec2RouteTable {
  readonly id: string;
  readonly vpcId: string;
  readonly routes: readonly Ec2Route[];
}

interface Ec2Route {
  /** In canonical form. */
  readonly destination: string;
  readonly target: string;
  readonly isActive: boolean;
  /** Whether it was created by a call, not propagated by a gateway or part of the table. */
  readonly isCreated: boolean;
}

/** The interfaces of the instance in an answer of DescribeInstances; undefined = there is no instance in it. */
export function interfacesOf(root: XmlElement): readonly Ec2Interface[] | undefined {
  const instance = itemsOf(root, "reservationSet").flatMap((item) => itemsOf(item, "instancesSet"))[0];
  if (instance === undefined) return undefined;
  return itemsOf(instance, "networkInterfaceSet").flatMap((item) => {
    const [id, vpcId, subnetId] = ["networkInterfaceId", "vpcId", "subnetId"].map((name) =>
      textOf(item, name),
    );
    if (id === undefined || vpcId === undefined || subnetId === undefined) return [];
    const check = textOf(item, "sourceDestCheck");
    const addresses = [
      textOf(item, "privateIpAddress"),
      ...itemsOf(item, "privateIpAddressesSet").map((each) => textOf(each, "privateIpAddress")),
      ...itemsOf(item, "ipv6AddressesSet").map((each) => textOf(each, "ipv6Address")),
    ].flatMap((text) => {
      const ip = text === undefined ? undefined : parseIp(text);
      return ip === undefined ? [] : [formatIp(ip)];
    });
    const sourceDestCheck = check === undefined ? undefined : check === "true";
    return [{ id, vpcId, subnetId, sourceDestCheck, addresses: [...new Set(addresses)] }];
  });
}

/** The members of a route that may name its target. */
const TARGETS = [
  ...["networkInterfaceId", "gatewayId", "natGatewayId", "transitGatewayId", "vpcPeeringConnectionId"],
  ...["egressOnlyInternetGatewayId", "carrierGatewayId", "localGatewayId", "coreNetworkArn", "instanceId"],
];

/** The tables in an answer of DescribeRouteTables. */
export const routeTablesOf = (root: XmlElement): readonly Ec2RouteTable[] =>
  itemsOf(root, "routeTableSet").flatMap((table) => {
    const [id, vpcId] = [textOf(table, "routeTableId"), textOf(table, "vpcId")];
    if (id === undefined || vpcId === undefined) return [];
    return [{ id, vpcId, routes: itemsOf(table, "routeSet").flatMap(routeOf) }];
  });

/** Where the next page of an answer is; undefined = it is the last. */
export const nextTokenOf = (root: XmlElement): string | undefined => textOf(childOf(root, "nextToken"));

function routeOf(route: XmlElement): Ec2Route[] {
  const text = textOf(route, "destinationCidrBlock") ?? textOf(route, "destinationIpv6CidrBlock");
  const prefix = text === undefined ? undefined : parsePrefix(text);
  if (prefix === undefined) return [];
  return [
    {
      destination: formatPrefix(prefix),
      target:
        TARGETS.map((name) => textOf(route, name)).find((id) => id !== undefined) ?? "a target that is gone",
      isActive: textOf(route, "state") !== "blackhole",
      isCreated: (textOf(route, "origin") ?? "CreateRoute") === "CreateRoute",
    },
  ];
}

/** The routes of a table as the host that has this interface sees them. */
export const cloudRoutesOf = ({ id, routes }: Ec2RouteTable, interfaceId: string): CloudRoute[] =>
  routes.map(({ destination, target, isActive, isCreated }) => ({
    ...{ table: id, destination, target },
    isOwn: isActive && target === interfaceId,
    // Others cannot be deleted.
    isBlackhole: !isActive && isCreated,
  }));
