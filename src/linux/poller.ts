/**
 * Waiting for descriptors that Node does not know (netlink, TUN): in libuv's own event loop, so that there is no thread
 * that blocks and nothing that holds up the end of the process.
 */

import { pollFd } from "./ffi.ts";

/** A running watch. It keeps the process alive while it is open and not paused. */
export interface Watch extends Disposable {
  /** Stops calling back, and {@link resume} goes on. Both may be repeated. */
  pause(): void;
  resume(): void;
  /** To be called before the descriptor is closed. May be repeated. */
  close(): void;
}

/**
 * Calls `onReadable` whenever `fd` can be read or has an error to be fetched, again and again while that is so: read
 * until EAGAIN, or pause. The call comes from a fresh turn of the event loop, so promises it settles go on at once.
 */
export function watchReadable(fd: number, onReadable: () => void): Watch {
  let state: "running" | "paused" | "closed" = "running";
  let isScheduled = false;
  const onPoll = (status: number): void => {
    // On an error (for netlink: ENOBUFS) libuv stops watching, taking the descriptor for a broken one. It is not.
    if (status < 0 && state === "running") handle.start(onPoll);
    if (isScheduled) return;
    isScheduled = true;
    // koffi calls from outside Node's callback scopes, after which microtasks would not run.
    setImmediate(() => {
      isScheduled = false;
      if (state === "running") onReadable();
    });
  };
  const handle = pollFd(fd, onPoll);
  const close = (): void => {
    if (state !== "closed") handle.close();
    state = "closed";
  };
  return {
    pause() {
      if (state !== "running") return;
      state = "paused";
      handle.stop();
    },
    resume() {
      if (state !== "paused") return;
      state = "running";
      handle.start(onPoll);
    },
    close,
    [Symbol.dispose]: close,
  };
}
