/** What the data path goes by. Handed over as a whole and never changed in place. */

import { buildForwardingTable, type ForwardingTable } from "../packet/forwarding-table.ts";

export interface Forwarding {
  readonly table: ForwardingTable;
  /** This host's subnet, unsigned: what peers may send here. Its base is the tunnel's own address. */
  readonly ownBase: number;
  readonly ownMask: number;
  /** Whether packets must come from the peer that their source belongs to. */
  readonly strictSource: boolean;
}

/** Nobody can be reached, and nothing is for us. */
export const NO_FORWARDING: Forwarding = {
  table: buildForwardingTable([]),
  ownBase: 0,
  ownMask: 0xffffffff,
  strictSource: true,
};
