/**
 * Routes of a Google Compute Engine network, each with an instance as its next hop: name `flannel-10-5-72-0-24`, priority
 * 1000, as Go flannel made them. Its route table is the network's, which is why {@link CloudHost.tables} names the network.
 * https://cloud.google.com/compute/docs/reference/rest/v1/routes
 */

import { containsPrefix, formatPrefix, type Prefix, parsePrefix } from "../../address/prefix.ts";
import { hasCode } from "../../base/error.ts";
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
import { ComputeApi, resourcePath } from "./compute-api.ts";
import { type GceCall, scopeRemedy } from "./gce-error.ts";
import { GceMetadata } from "./metadata.ts";

const PRIORITY = 1000;
const NAME_PREFIX = "flannel-";
const PAGE_SIZE = "500";
const MAX_PAGES = 100;
/** `warnings[].code` of a route whose instance is deleted, stopped, or in another network. */
const BLACKHOLES = [
  "NEXT_HOP_INSTANCE_NOT_FOUND",
  "NEXT_HOP_NOT_RUNNING",
  "NEXT_HOP_INSTANCE_NOT_ON_NETWORK",
];
/** Scopes of which route calls need one. */
const SCOPES = ["compute", "cloud-platform"].map((name) => `https://www.googleapis.com/auth/${name}`);

const GET_INSTANCE: GceCall = { name: "instances.get", permission: "compute.instances.get" };
const GET_ROUTE: GceCall = { name: "routes.get", permission: "compute.routes.get" };
const LIST_ROUTES: GceCall = { name: "routes.list", permission: "compute.routes.list" };
const INSERT_ROUTE: GceCall = { name: "routes.insert", permission: "compute.routes.create" };
const DELETE_ROUTE: GceCall = { name: "routes.delete", permission: "compute.routes.delete" };

/** "flannel-10-5-72-0-24", as Go flannel names it: dots and slash become dashes. */
export const routeName = (destination: string): string => NAME_PREFIX + destination.replaceAll(/[./]/g, "-");

export class GceCloud implements Cloud {
  readonly name = "Compute Engine API";
  readonly #metadata: GceMetadata;
  readonly #api: ComputeApi;
  readonly #addresses: readonly string[];
  /** As the API described it when it was identified. */
  #instance: Json = {};

  /** Throws CloudError for an endpoint that cannot be used. */
  constructor({ addresses }: Pick<CloudSettings, "addresses">, ports: CloudPorts) {
    this.#metadata = new GceMetadata(ports);
    this.#api = new ComputeApi(this.#metadata, ports);
    this.#addresses = addresses;
  }

  async identify(signal: AbortSignal): Promise<CloudHost> {
    const path = await this.#metadata.instancePath(signal);
    this.#instance = await this.#api.call({ call: GET_INSTANCE, method: "GET", path, signal });
    const target = resourcePath(textAt(this.#instance, "selfLink"));
    const network = resourcePath(textAt(this.#interface(), "network"));
    const instance = textAt(this.#instance, "name");
    if (![target, network].every(isPath) || !isPath(`projects/${instance}`)) {
      throw new CloudError(
        "NOT_UNDERSTOOD",
        `the Compute Engine API answered no instance with a network for ${path}`,
      );
    }
    if (projectOf(target) !== projectOf(network)) {
      throw new CloudError(
        "CONFLICT",
        `network ${network} is shared by another project (Shared VPC), whose routes cannot lead to instances of ${projectOf(target)}; use the vxlan or host-gw backend`,
      );
    }
    this.#api.instance = instance;
    return { instance, target, tables: [network] };
  }

  async prepare({ instance, target }: CloudHost, signal: AbortSignal): Promise<readonly string[]> {
    const warnings: string[] = [];
    const zone = `--zone ${target.split("/")[3]}`;
    if (valueAt(this.#instance, "canIpForward") !== true) {
      warnings.push(
        `Instance ${instance} may not forward packets (canIpForward is not set), so that packets of containers are dropped; ` +
          `set canIpForward: true in what "gcloud compute instances export ${instance} ${zone} --destination i.yaml" writes, then: ` +
          `gcloud compute instances update-from-file ${instance} ${zone} --source i.yaml --most-disruptive-allowed-action RESTART`,
      );
    }
    const addresses = this.#addresses.join(", ");
    if (!this.#addresses.includes(textAt(this.#interface(), "networkIP"))) {
      warnings.push(
        `No network interface of instance ${instance} has the address ${addresses}; routes lead to its first one, ` +
          `${textAt(this.#interface(), "networkIP")}: choose that interface with --iface`,
      );
    }
    const scopes = await this.#metadata.scopes(signal);
    if (!SCOPES.some((scope) => scopes.includes(scope)))
      warnings.push(`Routes cannot be created: ${scopeRemedy(`${instance} ${zone}`)}`);
    return warnings;
  }

  async list(
    { tables, target }: CloudHost,
    networks: readonly Prefix[],
    signal: AbortSignal,
  ): Promise<CloudRoute[]> {
    const [network = ""] = tables;
    const routes = new Map<string, CloudRoute>();
    // An expression of RE2 that has to match the whole field: its host and version vary.
    const filter = `network eq ".*/${network}"`;
    let pageToken = "";
    for (let page = 0; page < MAX_PAGES; page++) {
      const answer = await this.#api.call({
        ...{ call: LIST_ROUTES, method: "GET", path: routesOf(network), signal },
        query: { filter, maxResults: PAGE_SIZE, ...(pageToken !== "" && { pageToken }) },
      });
      for (const item of objectsAt(answer, "items")) {
        const route = readRoute(item, network, target, networks);
        // Several routes share the packets of a destination: a foreign one hides ours until it is replaced.
        if (route !== undefined && routes.get(route.destination)?.isOwn !== false)
          routes.set(route.destination, route);
      }
      pageToken = textAt(answer, "nextPageToken");
      if (pageToken === "") return [...routes.values()];
    }
    throw new CloudError(
      "NOT_UNDERSTOOD",
      `the Compute Engine API answered more than ${MAX_PAGES} pages of routes`,
    );
  }

  async create(
    { target }: CloudHost,
    { table, destination }: RoutePlace,
    signal: AbortSignal,
  ): Promise<void> {
    const name = routeName(destination);
    try {
      const operation = await this.#api.call({
        ...{ call: INSERT_ROUTE, method: "POST", path: routesOf(table), signal },
        body: {
          ...{ name, destRange: destination, network: table, nextHopInstance: target, priority: PRIORITY },
          description: "Created by flanneld",
        },
      });
      await this.#api.finish(INSERT_ROUTE, operation, signal);
    } catch (error) {
      if (!hasCode(error, "EXISTS")) throw error;
      throw (await this.#explainName(name, { table, destination }, signal)) ?? error;
    }
  }

  async replace(host: CloudHost, previous: CloudRoute, signal: AbortSignal): Promise<void> {
    await this.delete(host, previous, signal);
    try {
      await this.create(host, previous, signal);
    } catch (error) {
      // It was there beside the other.
      if (!hasCode(error, "EXISTS")) throw error;
    }
  }

  async delete(_host: CloudHost, { table, id = "" }: CloudRoute, signal: AbortSignal): Promise<void> {
    const path = `${routesOf(table)}/${encodeURIComponent(id)}`;
    const operation = await this.#api.call({ call: DELETE_ROUTE, method: "DELETE", path, signal });
    await this.#api.finish(DELETE_ROUTE, operation, signal);
  }

  /** Names are the project's, destinations the network's. Undefined = the route that exists is at this place. */
  async #explainName(name: string, place: RoutePlace, signal: AbortSignal): Promise<CloudError | undefined> {
    const path = `${routesOf(place.table)}/${name}`;
    const route = await this.#api.call({ call: GET_ROUTE, method: "GET", path, signal });
    const network = resourcePath(textAt(route, "network"));
    const destination = textAt(route, "destRange");
    if (network === place.table && destination === place.destination) return undefined;
    return new CloudError(
      "CONFLICT",
      `route "${name}" exists in this project, but for ${shown(destination)} in network ${shown(network)}; choose another Network in the network config, or delete it: gcloud compute routes delete ${name}`,
    );
  }

  /** The network interface with one of this host's addresses, else the first. */
  #interface(): Json {
    const interfaces = objectsAt(this.#instance, "networkInterfaces");
    return (
      interfaces.find((each) => this.#addresses.includes(textAt(each, "networkIP"))) ?? interfaces[0] ?? {}
    );
  }
}

/** "projects/p/global/routes" for "projects/p/global/networks/n". */
const routesOf = (network: string): string => `projects/${projectOf(network)}/global/routes`;

/** What a message, a URL or a filter may contain. */
const isPath = (text: string): boolean => /^projects(?:\/[\w.:-]+)+$/.test(text);

const projectOf = (path: string): string => /^projects\/([^/]+)\/./.exec(path)?.[1] ?? "";

/**
 * Undefined for what is none of flannel's business: other networks, destinations outside, routes of some instances only
 * (tags), and those that one of flanneld takes precedence over.
 */
function readRoute(
  item: Json,
  network: string,
  own: string,
  networks: readonly Prefix[],
): CloudRoute | undefined {
  const prefix = parsePrefix(textAt(item, "destRange"));
  if (prefix === undefined || !networks.some((outer) => containsPrefix(outer, prefix))) return undefined;
  if (resourcePath(textAt(item, "network")) !== network) return undefined;
  const id = textAt(item, "name");
  const destination = formatPrefix(prefix);
  const priority = valueAt(item, "priority");
  const tags = valueAt(item, "tags");
  const isElsewhere =
    (Array.isArray(tags) && tags.length > 0) || (typeof priority === "number" && priority > PRIORITY);
  if (isElsewhere && id !== routeName(destination)) return undefined;
  const warnings = objectsAt(item, "warnings").map((warning) => textAt(warning, "code"));
  const hop = resourcePath(textAt(item, "nextHopInstance"));
  return {
    ...{ table: network, destination, id },
    target: shown(hop || nextHopOf(item)),
    isOwn: hop === own && !isElsewhere && id === routeName(destination),
    isBlackhole: id.startsWith(NAME_PREFIX) && warnings.some((code) => BLACKHOLES.includes(code)),
  };
}

/** What a route leads to that is no instance: "nextHopGateway projects/…". */
function nextHopOf(item: Json): string {
  const name = Object.keys(item).find((each) => each.startsWith("nextHop") && typeof item[each] === "string");
  return name === undefined ? "nothing" : `${name} ${resourcePath(textAt(item, name))}`;
}
