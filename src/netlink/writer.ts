/**
 * The buffer in which requests are written: one, grown as needed and used again, so that thousands of requests leave
 * no garbage. Numbers are in host order, which is little endian on every machine this program is built for
 * (x86-64, arm64); only kinds named `…be` are in network order.
 */

const INITIAL_BYTES = 128 * 1024;

/** Messages and attributes start at multiples of 4 (NLMSG_ALIGNTO, NLA_ALIGNTO; linux/netlink.h). */
export const align4 = (length: number): number => (length + 3) & ~3;

/**
 * A growing write buffer for one message at a time. Offsets and lengths are bytes; a view taken before a write is stale
 * after it.
 */
export class Writer {
  #bytes = new Uint8Array(INITIAL_BYTES);
  #length = 0;

  /** How many bytes are written. */
  get length(): number {
    return this.#length;
  }

  /** What is written: a view that the next write may change. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Forgets everything. */
  clear(): void {
    this.#length = 0;
  }

  u8(value: number): void {
    const at = this.#grow(1);
    this.#bytes[at] = value;
  }

  u16(value: number): void {
    const at = this.#grow(2);
    this.#bytes[at] = value;
    this.#bytes[at + 1] = value >>> 8;
  }

  u16be(value: number): void {
    this.u16(((value & 0xff) << 8) | ((value >>> 8) & 0xff));
  }

  u32(value: number): void {
    const at = this.#grow(4);
    this.#putU32(at, value);
  }

  u32be(value: number): void {
    this.u16be(value >>> 16);
    this.u16be(value);
  }

  u64(value: bigint): void {
    this.u32(Number(value & 0xffff_ffffn));
    this.u32(Number((value >> 32n) & 0xffff_ffffn));
  }

  bytes(value: Uint8Array): void {
    const at = this.#grow(value.length);
    this.#bytes.set(value, at);
  }

  /** Zeros up to the next multiple of 4. */
  align(): void {
    while ((this.#length & 3) !== 0) this.u8(0);
  }

  /** Puts a number over two bytes that were written before. */
  patchU16(at: number, value: number): void {
    this.#bytes[at] = value;
    this.#bytes[at + 1] = value >>> 8;
  }

  /** Puts a number over four bytes that were written before. */
  patchU32(at: number, value: number): void {
    this.#putU32(at, value);
  }

  #putU32(at: number, value: number): void {
    this.#bytes[at] = value;
    this.#bytes[at + 1] = value >>> 8;
    this.#bytes[at + 2] = value >>> 16;
    this.#bytes[at + 3] = value >>> 24;
  }

  #grow(count: number): number {
    const at = this.#length;
    this.#length = at + count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
    }
    return at;
  }
}
