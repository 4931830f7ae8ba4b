/** Connections of strongSwan's charon to peers, with their preshared key. Held by ipsec/connection-provider.ts. */

import type { ObjectKind } from "../object-kind.ts";

/** One connection, as Go flannel makes it. */
export interface IpsecConnection {
  readonly kind: "ipsec-connection";
  /** Public addresses. */
  readonly local: string;
  readonly remote: string;
  /** "10.5.1.0/24". */
  readonly localSubnet: string;
  readonly remoteSubnet: string;
  /** ESP in UDP also where no NAT is detected. */
  readonly udpEncap: boolean;
  readonly espProposal: string;
  /** Fingerprint of the preshared key. */
  readonly presharedKeyId: string;
}

/** The connection's name in charon, as Go flannel's. */
export const connectionName = ({ local, remote, localSubnet, remoteSubnet }: IpsecConnection): string =>
  `${local}-${localSubnet}-${remoteSubnet}-${remote}`;

/** Key: the name in charon. */
export const ipsecConnection: ObjectKind<IpsecConnection> = {
  kind: "ipsec-connection",
  key: (connection) => `ipsec-connection ${connectionName(connection)}`,
  device: () => "",
  describe: (connection) =>
    `ipsec connection ${connectionName(connection)} esp ${connection.espProposal}${connection.udpEncap ? " in UDP" : ""} preshared key ${connection.presharedKeyId}`,
};
