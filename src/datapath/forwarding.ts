/** The input of every forwarding decision. It is passed to the thread as a whole and never changed in place. */

import { buildForwardingTable, type ForwardingTable } from "../packet/forwarding-table.ts";

export interface Forwarding {
  readonly table: ForwardingTable;
  /** This host's subnet, unsigned: what peers may send here. Its base is the tunnel's own address. */
  readonly ownBase: number;
  readonly ownMask: number;
  /** Whether a packet's source must be in the sending peer's subnet (Backend.StrictSource). */
  readonly strictSource: boolean;
}

/** No peer is reachable, and no packet is for this host. */
export const NO_FORWARDING: Forwarding = {
  table: buildForwardingTable([]),
  ownBase: 0,
  ownMask: 0xffffffff,
  strictSource: true,
};
