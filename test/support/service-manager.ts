/**
 * What systemd is to a service: hears its notifications (sd_notify(3)), keeps the descriptors that it is given, and hands
 * them to the process that is started next (sd_listen_fds(3)).
 */

import { rmSync } from "node:fs";
import { addressOf, check, EAGAIN, lastErrno, sys } from "../../src/linux/ffi.ts";
import { type Watch, watchReadable } from "../../src/linux/poller.ts";
import { createPacketMemory } from "../../src/packet/packet-memory.ts";
import { atExit } from "./at-exit.ts";

// bits/socket.h, asm-generic/socket.h
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const CMSGHDR_BYTES = 16;

const TEXT_BYTES = 1024;
const CONTROL_BYTES = 256;

export interface HandOver {
  readonly env: Readonly<Record<string, string>>;
  /** Its descriptors from 3 on. */
  readonly fds: readonly number[];
  /** What comes before its command. */
  readonly through: readonly string[];
}

/** For a process without a service manager. */
export const NOTHING: HandOver = { env: {}, fds: [], through: [] };

export class ServiceManager implements Disposable {
  /** For NOTIFY_SOCKET. */
  readonly path: string;
  readonly #fd: number;
  readonly #watch: Watch;
  readonly #memory = createPacketMemory(4096);
  readonly #messages: string[] = [];
  readonly #kept = new Map<string, number>();
  readonly #callOffExit: () => void;
  // struct mmsghdr, its iovec, and what they point to.
  readonly #header = this.#memory.reserve(64);
  readonly #piece = this.#memory.reserve(16);
  readonly #text = this.#memory.reserve(TEXT_BYTES);
  readonly #control = this.#memory.reserve(CONTROL_BYTES);

  constructor(path: string) {
    this.path = path;
    this.#fd = check(sys.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(`${path}\0`)]);
    check(sys.bind(this.#fd, address, address.length), "bind", path);
    this.#callOffExit = atExit(() => rmSync(path, { force: true }));
    this.#watch = watchReadable(this.#fd, () => this.#receive());
  }

  /** All notifications up to now. */
  get messages(): readonly string[] {
    this.#receive();
    return this.#messages;
  }

  /** Names of what it keeps now. */
  get kept(): readonly string[] {
    this.#receive();
    return [...this.#kept.keys()].sort();
  }

  /** How a process is started with what is kept. */
  handOver(): HandOver {
    const names = this.kept;
    const env = { NOTIFY_SOCKET: this.path };
    if (names.length === 0) return { ...NOTHING, env };
    return {
      env: { ...env, LISTEN_FDS: String(names.length), LISTEN_FDNAMES: names.join(":") },
      fds: names.map((name) => this.#kept.get(name)!),
      through: ["sh", "-c", 'export LISTEN_PID=$$; exec "$@"', "sh"],
    };
  }

  [Symbol.dispose](): void {
    this.#watch.close();
    for (const fd of this.#kept.values()) sys.close(fd);
    this.#kept.clear();
    sys.close(this.#fd);
    this.#callOffExit();
    rmSync(this.path, { force: true });
  }

  #receive(): void {
    const { view, bytes } = this.#memory;
    const base = addressOf(bytes);
    const pointer = (at: number, to: number) => view.setBigUint64(at, BigInt(base + to), true);
    for (;;) {
      bytes.fill(0);
      pointer(this.#header + 16, this.#piece);
      view.setUint32(this.#header + 24, 1, true);
      pointer(this.#header + 32, this.#control);
      view.setUint32(this.#header + 40, CONTROL_BYTES, true);
      pointer(this.#piece, this.#text);
      view.setUint32(this.#piece + 8, TEXT_BYTES, true);
      const flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC;
      const count = sys.recvmmsg(this.#fd, base + this.#header, 1, flags, 0);
      if (count < 0 && lastErrno() === EAGAIN) return;
      check(count, "recvmmsg", this.path);
      const end = this.#text + view.getUint32(this.#header + 56, true);
      const text = Buffer.from(bytes.subarray(this.#text, end)).toString();
      this.#messages.push(text);
      this.#take(text, this.#rights());
    }
  }

  /** The descriptors in the control message (cmsg(3)). */
  #rights(): number[] {
    const { view } = this.#memory;
    const at = this.#control;
    if (view.getUint32(this.#header + 40, true) === 0) return [];
    if (view.getInt32(at + 8, true) !== SOL_SOCKET || view.getInt32(at + 12, true) !== SCM_RIGHTS) return [];
    const count = (view.getUint32(at, true) - CMSGHDR_BYTES) / 4;
    return Array.from({ length: count }, (_, index) => view.getInt32(at + CMSGHDR_BYTES + 4 * index, true));
  }

  #take(text: string, fds: readonly number[]): void {
    const fields = new Map(text.split("\n").map((line) => line.split("=", 2) as [string, string]));
    const name = fields.get("FDNAME") ?? "stored";
    if (fields.get("FDSTOREREMOVE") === "1" && this.#kept.has(name)) {
      sys.close(this.#kept.get(name)!);
      this.#kept.delete(name);
    }
    for (const fd of fds) {
      if (fields.get("FDSTORE") === "1" && !this.#kept.has(name)) this.#kept.set(name, fd);
      else sys.close(fd);
    }
  }
}
