/** Policies of the kernel's IPsec: packets between two subnets go through a tunnel. Held by ipsec/policy-provider.ts. */

import type { ObjectKind } from "../object-kind.ts";

/** One direction of one pair of subnets. */
export interface XfrmPolicyObject {
  readonly kind: "xfrm-policy";
  readonly direction: "in" | "out" | "fwd";
  /** "10.5.1.0/24". */
  readonly source: string;
  readonly destination: string;
  /** Public addresses of the hosts, the ends of the tunnel. */
  readonly tunnelSource: string;
  readonly tunnelDestination: string;
}

/** Key: direction and subnets, which the kernel holds once. */
export const xfrmPolicy: ObjectKind<XfrmPolicyObject> = {
  kind: "xfrm-policy",
  key: ({ direction, source, destination }) => `xfrm-policy ${direction} ${source} ${destination}`,
  device: () => "",
  describe: ({ direction, source, destination, tunnelSource, tunnelDestination }) =>
    `xfrm policy src ${source} dst ${destination} dir ${direction} tmpl src ${tunnelSource} dst ${tunnelDestination} proto esp mode tunnel`,
};
