/** A connection in the words of VICI's load-conn (strongSwan, src/libcharon/plugins/vici/README.md), as Go flannel makes it. */

import type { IpsecConnection } from "../state/objects.ts";
import { REQID } from "./policy-provider.ts";
import type { ViciSection } from "./vici.ts";

/** The name of the key that `address` proves its identity with. */
export const secretId = (address: string): string => `flannel-${address}`;

/** The name of the only child. */
export const childName = ({ localSubnet, remoteSubnet }: IpsecConnection): string =>
  `${localSubnet}-${remoteSubnet}`;

/** Without the preshared key. */
export function connectionMessage(connection: IpsecConnection): ViciSection {
  const { local, remote, localSubnet, remoteSubnet, udpEncap, espProposal } = connection;
  return {
    version: "2",
    local_addrs: [local],
    remote_addrs: [remote],
    proposals: ["aes256-sha256-modp4096"],
    encap: udpEncap ? "yes" : "no",
    keyingtries: "0",
    // Go flannel asks for dpd_action without a delay, which leaves it off.
    dpd_delay: "10s",
    local: { auth: "psk" },
    remote: { auth: "psk" },
    children: {
      [childName(connection)]: {
        local_ts: [localSubnet],
        remote_ts: [remoteSubnet],
        esp_proposals: [espProposal],
        mode: "tunnel",
        reqid: String(REQID),
        policies: "no",
        rekey_time: "1h",
        start_action: "start",
        close_action: "trap",
        dpd_action: "restart",
      },
    },
  };
}
