/** Connections of strongSwan's charon to peers, with their preshared key. Held by ipsec/connection-provider.ts. */

import { parseIp } from "../../address/ip.ts";
import { parsePrefix } from "../../address/prefix.ts";
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

/**
 * The connection that has this name, with nothing known of how it was loaded; undefined = the name is none of flannel's.
 * Throws nothing, whatever the name is.
 */
export function parseConnectionName(name: string): IpsecConnection | undefined {
  const parts = name.split("-");
  if (parts.length !== 4) return undefined;
  const [local, localSubnet, remoteSubnet, remote] = parts as [string, string, string, string];
  if (parseIp(local) === undefined || parseIp(remote) === undefined) return undefined;
  if (parsePrefix(localSubnet) === undefined || parsePrefix(remoteSubnet) === undefined) return undefined;
  const unknown = { udpEncap: false, espProposal: "unknown", presharedKeyId: "unknown" };
  return { kind: "ipsec-connection", ...{ local, remote, localSubnet, remoteSubnet }, ...unknown };
}

/** Key: the name in charon. */
export const ipsecConnection: ObjectKind<IpsecConnection> = {
  kind: "ipsec-connection",
  key: (connection) => `ipsec-connection ${connectionName(connection)}`,
  device: () => "",
  describe: (connection) =>
    `ipsec connection ${connectionName(connection)} esp ${connection.espProposal}${connection.udpEncap ? " in UDP" : ""} preshared key ${connection.presharedKeyId}`,
};
