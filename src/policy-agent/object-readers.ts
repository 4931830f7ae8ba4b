/**
 * Readers of pods, namespaces and network policies for the watches: only the members that policies need are taken out of an
 * object's JSON, the rest of it is skipped unparsed. A pod has 4 to 10 KB, and changes many times without a change for policies.
 */

import type { JsonReader } from "../lease/kube/json-reader.ts";
import type { ObjectReader } from "../lease/kube/watch-events.ts";
import type { NetworkPolicy, PolicyNamespace, PolicyPod } from "../policy/model.ts";
import type { ObjectParser } from "../policy/parse-objects.ts";
import { parseNetworkPolicy } from "../policy/parse-policy.ts";

/** Members to take: `true` = the whole value, otherwise those inside an object, or inside the objects of a list. */
type Wanted = { readonly [member: string]: true | Wanted };

const METADATA: Wanted = { name: true, uid: true, labels: true, resourceVersion: true };
const CONTAINERS: Wanted = { ports: true };
const POD: Wanted = {
  metadata: { ...METADATA, namespace: true, creationTimestamp: true, deletionTimestamp: true },
  spec: { nodeName: true, hostNetwork: true, containers: CONTAINERS, initContainers: CONTAINERS },
  status: { phase: true, podIP: true, podIPs: true },
};
const NAMESPACE: Wanted = { metadata: METADATA };
const POLICY: Wanted = { metadata: { ...METADATA, namespace: true }, spec: true };

/** Members whose values are lists of objects. */
const LISTS = new Set(["containers", "initContainers"]);

/** Reads pods. Throws JsonFault, as all of them do. */
export const podReader = (parser: ObjectParser): ObjectReader<PolicyPod> =>
  readerOf(POD, (json) => parser.pod(json));

/** Reads namespaces. */
export const namespaceReader = (parser: ObjectParser): ObjectReader<PolicyNamespace> =>
  readerOf(NAMESPACE, (json) => parser.namespace(json));

/** Reads network policies, malformed ones too. */
export const networkPolicyReader = (): ObjectReader<NetworkPolicy> => readerOf(POLICY, parseNetworkPolicy);

function readerOf<Kept>(wanted: Wanted, parse: (json: unknown) => Kept | undefined): ObjectReader<Kept> {
  return (reader) => {
    const json = take(reader, wanted);
    const { resourceVersion: version } = (json.metadata ?? {}) as Taken;
    return {
      version: typeof version === "string" && version !== "" ? version : undefined,
      object: parse(json),
    };
  };
}

type Taken = Record<string, unknown>;

function take(reader: JsonReader, wanted: Wanted): Taken {
  const taken: Taken = {};
  reader.object((member) => {
    const inside = Object.hasOwn(wanted, member) ? wanted[member] : undefined;
    if (inside === undefined) reader.skip();
    else if (inside === true) taken[member] = reader.value();
    else if (LISTS.has(member)) {
      const items: Taken[] = [];
      reader.array(() => items.push(take(reader, inside)));
      taken[member] = items;
    } else taken[member] = take(reader, inside);
  });
  return taken;
}
