/** That the extension backend's PostStartupCommand was run. Held by extension/extension-provider.ts. */

import type { ObjectKind } from "../object-kind.ts";

/** The command, and what it is given in its environment. */
export interface ExtensionStartup {
  readonly kind: "extension-startup";
  readonly command: string;
  /** The network's prefix of IPv4; "" = it has none. */
  readonly network: string;
  /** This host's subnets and public addresses; "" = none. */
  readonly subnet: string;
  readonly ipv6Subnet: string;
  readonly publicIp: string;
  readonly publicIpv6: string;
}

/** There is one. It depends on no device, and is made before the peers. */
export const extensionStartup: ObjectKind<ExtensionStartup> = {
  kind: "extension-startup",
  key: () => "extension-startup",
  device: () => "",
  describe: ({ subnet, ipv6Subnet }) =>
    `extension startup for ${[subnet, ipv6Subnet].filter((text) => text !== "").join(", ")}`,
};
