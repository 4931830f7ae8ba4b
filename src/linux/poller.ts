/**
 * Waits for descriptors that Node does not know (netlink, TUN) in libuv's own event loop: no thread blocks, and nothing
 * delays the exit of the process.
 */

import { pollFd } from "./ffi.ts";

/** A running watch. It keeps the process alive while it is open and not paused. */
export interface Watch extends Disposable {
  /** Stops the callbacks until {@link resume}. Both may be repeated. */
  pause(): void;
  resume(): void;
  /** Ends the watch. To be called before the descriptor is closed; may be repeated. */
  close(): void;
}

/**
 * Calls `onReadable` whenever `fd` is readable or has a pending error, repeatedly while that is so (level-triggered): read
 * until EAGAIN, or pause. Each call is a turn of the event loop of its own, so promises that it settles continue at once.
 */
export function watchReadable(fd: number, onReadable: () => void): Watch {
  let state: "running" | "paused" | "closed" = "running";
  let isScheduled = false;
  const onPoll = (status: number): void => {
    // On an error (for netlink: ENOBUFS) libuv stops watching, as if the descriptor were broken. It is not.
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
