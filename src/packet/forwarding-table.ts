/**
 * Which peer a destination belongs to: a hash table from subnet to the peer's address, in one block of memory that is
 * built once, passed to the data path's thread, and only read there. A lookup costs one probe per prefix length in
 * use (usually one), independent of the number of peers.
 */

/** One peer's subnet. Addresses are unsigned 32-bit numbers. */
export interface ForwardingEntry {
  readonly base: number;
  /** Prefix length, 1…32. */
  readonly length: number;
  /** The peer's address outside of the tunnel. */
  readonly peer: number;
}

/** An immutable table; typed arrays only, so that it can be passed to a thread without being serialized field by field. */
export interface ForwardingTable {
  /** Prefix lengths in use, longest first, as masks. */
  readonly masks: Uint32Array;
  /** Slots of three words: base, mask, peer. A mask of zero is an empty slot. */
  readonly slots: Uint32Array;
  /** Number of slots, a power of two, minus one. */
  readonly slotMask: number;
  /** The peers' addresses as a hash set with as many slots; zero is an empty one. */
  readonly peers: Uint32Array;
}

/** No peer: 0.0.0.0 is no host's address. */
export const NO_PEER = 0;

const WORDS = 3;

/** Of two entries for one subnet the later one wins. */
export function buildForwardingTable(entries: Iterable<ForwardingEntry>): ForwardingTable {
  const list = [...entries];
  const lengths = [...new Set(list.map(({ length }) => length))].sort((a, b) => b - a);
  // At most half full, so that a probe ends soon.
  const slotCount = 2 ** Math.ceil(Math.log2(Math.max(2, list.length * 2)));
  const table = {
    masks: Uint32Array.from(lengths, maskOf),
    slots: new Uint32Array(slotCount * WORDS),
    slotMask: slotCount - 1,
    peers: new Uint32Array(slotCount),
  };
  for (const { base, length, peer } of list) {
    table.peers[slotOfPeer(table, peer)] = peer;
    const mask = maskOf(length);
    const key = (base & mask) >>> 0;
    const { slots, slotMask } = table;
    let slot = hash(key, mask) & slotMask;
    while (
      slots[slot * WORDS + 1] !== 0 &&
      !(slots[slot * WORDS] === key && slots[slot * WORDS + 1] === mask)
    )
      slot = (slot + 1) & slotMask;
    slots.set([key, mask, peer], slot * WORDS);
  }
  return table;
}

/** The peer that `address` (unsigned) belongs to, by its longest prefix; {@link NO_PEER} if there is none. */
export function lookUpPeer(table: ForwardingTable, address: number): number {
  const { masks, slots, slotMask } = table;
  for (let index = 0; index < masks.length; index++) {
    const mask = masks[index]!;
    const key = (address & mask) >>> 0;
    for (let slot = hash(key, mask) & slotMask; ; slot = (slot + 1) & slotMask) {
      const at = slot * WORDS;
      const slotPrefix = slots[at + 1]!;
      if (slotPrefix === 0) break;
      if (slots[at] === key && slotPrefix === mask) return slots[at + 2]!;
    }
  }
  return NO_PEER;
}

/** Whether the address (unsigned) is a peer's. */
export const isPeer = (table: ForwardingTable, address: number): boolean =>
  address !== NO_PEER && table.peers[slotOfPeer(table, address)] === address;

/** The slot of the address, or the empty one where it would be. */
function slotOfPeer({ peers, slotMask }: ForwardingTable, address: number): number {
  let slot = hash(address, 0) & slotMask;
  while (peers[slot] !== address && peers[slot] !== 0) slot = (slot + 1) & slotMask;
  return slot;
}

const maskOf = (length: number): number => (length === 0 ? 0 : (-1 << (32 - length)) >>> 0);

/** Fibonacci hashing: neighbouring subnets, which differ in their upper bits only, get distant slots. */
function hash(key: number, mask: number): number {
  const product = Math.imul(key ^ (mask >>> 3), 0x9e3779b1);
  return (product ^ (product >>> 15)) >>> 0;
}
