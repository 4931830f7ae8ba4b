/** A peer that the extension backend's SubnetAddCommand was run for. Held by extension/extension-provider.ts. */

import type { ObjectKind } from "../object-kind.ts";

/** One peer, with the commands that add and remove it. */
export interface ExtensionPeer {
  readonly kind: "extension-peer";
  /** "10.5.2.0/24"; "" = the peer has no IPv4 subnet that can be used. */
  readonly subnet: string;
  readonly publicIp: string;
  /** As `subnet`, for IPv6. */
  readonly ipv6Subnet: string;
  readonly publicIpv6: string;
  /** The peer's BackendData: standard input of the commands. */
  readonly data: string;
  /** "" = none. */
  readonly addCommand: string;
  readonly removeCommand: string;
  /** Whether this run of flanneld ran the command. Always true in a plan, so that each start runs it again. */
  readonly isCurrent: boolean;
}

/** Key: the IPv4 subnet, else that of IPv6. It depends on no device. */
export const extensionPeer: ObjectKind<ExtensionPeer> = {
  kind: "extension-peer",
  key: ({ subnet, ipv6Subnet }) => `extension-peer ${subnet || ipv6Subnet}`,
  device: () => "",
  describe: ({ subnet, publicIp, ipv6Subnet, publicIpv6 }) =>
    `extension peer ${[subnet, ipv6Subnet].filter((text) => text !== "").join(", ")} at ${[publicIp, publicIpv6].filter((text) => text !== "").join(", ")}`,
};
