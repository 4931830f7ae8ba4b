/**
 * Which peer has an address: the longest prefix counts. A binary tree for each family, in arrays that are read without
 * allocating.
 */

import { ipToBytes } from "../../address/ip.ts";
import { baseOf, formatPrefix, type Prefix } from "../../address/prefix.ts";
import type { PacketMemory } from "../../packet/packet-memory.ts";

const NO_PEER = -1;
const NONE = 0;

/** A tree of bits. Node 0 is the root, so a child of 0 is none. */
class BitTree {
  #children = new Int32Array(512);
  #slots = new Int32Array(256).fill(NO_PEER);
  #count = 1;

  insert(address: Uint8Array, length: number, slot: number): void {
    let node = 0;
    for (let bit = 0; bit < length; bit++) {
      const at = node * 2 + ((address[bit >> 3]! >> (7 - (bit & 7))) & 1);
      if (this.#children[at] === NONE) {
        const child = this.#add(); // may replace the arrays
        this.#children[at] = child;
      }
      node = this.#children[at]!;
    }
    this.#slots[node] = slot;
  }

  /** Of the address of `bytes` bytes at `offset`. */
  lookUp(memory: Uint8Array, offset: number, bytes: number): number {
    const children = this.#children;
    const slots = this.#slots;
    let found = slots[0]!;
    let node = 0;
    for (let index = 0; index < bytes; index++) {
      const byte = memory[offset + index]!;
      for (let shift = 7; shift >= 0; shift--) {
        node = children[node * 2 + ((byte >> shift) & 1)]!;
        if (node === NONE) return found;
        const slot = slots[node]!;
        if (slot !== NO_PEER) found = slot;
      }
    }
    return found;
  }

  #add(): number {
    const node = this.#count++;
    if (node >= this.#slots.length) {
      const children = new Int32Array(this.#children.length * 2);
      children.set(this.#children);
      this.#children = children;
      const slots = new Int32Array(this.#slots.length * 2).fill(NO_PEER);
      slots.set(this.#slots);
      this.#slots = slots;
    }
    return node;
  }
}

export class AllowedIps {
  readonly #entries = new Map<string, { readonly prefix: Prefix; readonly slot: number }>();
  readonly #keysOf = new Map<number, readonly string[]>();
  #ipv4 = new BitTree();
  #ipv6 = new BitTree();
  /** Entries were removed since the trees were built. */
  #isStale = false;
  /** The answer for the last IPv4 address, which the next packet most often has too; undefined = there is none. */
  #lastAddress: number | undefined;
  #lastSlot = NO_PEER;

  /** Replaces the prefixes of a peer; a prefix that another peer had is this one's now. */
  set(slot: number, prefixes: readonly Prefix[]): void {
    this.#lastAddress = undefined;
    for (const key of this.#keysOf.get(slot) ?? []) {
      if (this.#entries.get(key)?.slot !== slot) continue;
      this.#entries.delete(key);
      this.#isStale = true;
    }
    this.#keysOf.set(slot, prefixes.map(formatPrefix));
    for (const prefix of prefixes) {
      this.#entries.set(formatPrefix(prefix), { prefix, slot });
      this.#insert(prefix, slot);
    }
  }

  /** The slot of the peer with the IPv4 address at `offset`, or NO_PEER. */
  lookUp4({ bytes, view }: PacketMemory, offset: number): number {
    const address = view.getInt32(offset);
    if (address === this.#lastAddress) return this.#lastSlot;
    if (this.#isStale) this.#rebuild();
    this.#lastAddress = address;
    this.#lastSlot = this.#ipv4.lookUp(bytes, offset, 4);
    return this.#lastSlot;
  }

  lookUp6({ bytes }: PacketMemory, offset: number): number {
    if (this.#isStale) this.#rebuild();
    return this.#ipv6.lookUp(bytes, offset, 16);
  }

  #insert(prefix: Prefix, slot: number): void {
    const tree = prefix.family === 4 ? this.#ipv4 : this.#ipv6;
    tree.insert(ipToBytes(baseOf(prefix)), prefix.length, slot);
  }

  #rebuild(): void {
    this.#isStale = false;
    this.#ipv4 = new BitTree();
    this.#ipv6 = new BitTree();
    for (const { prefix, slot } of this.#entries.values()) this.#insert(prefix, slot);
  }
}
