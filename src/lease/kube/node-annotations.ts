/** What operators and earlier runs have written into the annotations of this host's node. */

import type { Family, Ip } from "../../address/ip.ts";
import { StoreError } from "../../base/error.ts";
import { quote } from "../../config/json-members.ts";
import { isProblem } from "../lease-codec.ts";
import type { HostRecord } from "../lease-store.ts";
import type { Annotation, AnnotationNames } from "./annotations.ts";
import { attributesOf, readAddress } from "./node-lease.ts";
import type { NodeRecord } from "./node-record.ts";

/** Throws StoreError INVALID if an operator's annotation is not an address. */
export function hostRecordOf(node: NodeRecord, names: AnnotationNames): HostRecord {
  const read = (annotation: Annotation, family: Family): Ip | undefined => {
    const text = node.annotations[annotation];
    const ip = readAddress(text, family);
    if (ip !== null) return ip;
    throw new StoreError(
      "INVALID",
      `annotation ${names[annotation]} of node ${node.name} is not an IPv${family} address: ${quote(text ?? "")}; correct or remove it with kubectl annotate`,
    );
  };
  const attributes = attributesOf(node);
  return {
    publicIp: read("nodePublicIp", 4),
    publicIpv6: read("nodePublicIpv6", 6),
    publishedIp: read("publishedIp", 4),
    publishedIpv6: read("publishedIpv6", 6),
    attributes: isProblem(attributes) ? undefined : attributes,
  };
}
