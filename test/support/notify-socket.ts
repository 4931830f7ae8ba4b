/** A service manager's end of NOTIFY_SOCKET (sd_notify(3)): a datagram socket in the file system. */

import { check, EAGAIN, lastErrno, sys } from "../../src/linux/ffi.ts";

// bits/socket.h
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const MSG_DONTWAIT = 0x40;
const LARGEST_BYTES = 1024;

export class NotifySocket implements Disposable {
  readonly path: string;
  readonly #fd: number;
  readonly #messages: string[] = [];

  constructor(path: string) {
    this.path = path;
    this.#fd = check(sys.socket(AF_UNIX, SOCK_DGRAM, 0), "socket");
    const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(`${path}\0`)]);
    check(sys.bind(this.#fd, address, address.length), "bind", path);
  }

  /** All messages up to now. */
  messages(): readonly string[] {
    const buffer = new Uint8Array(LARGEST_BYTES);
    for (;;) {
      const length = sys.recv(this.#fd, buffer, buffer.length, MSG_DONTWAIT);
      if (length < 0 && lastErrno() === EAGAIN) return this.#messages;
      check(length, "recv", this.path);
      this.#messages.push(Buffer.from(buffer.subarray(0, length)).toString());
    }
  }

  [Symbol.dispose](): void {
    sys.close(this.#fd);
  }
}
