/** Queries a running flanneld over its unix socket. */

import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import { FlannelError, hasCode, messageOf } from "../base/error.ts";

const TIMEOUT_MS = 10_000;

/** Code of the error if no flanneld answers on the socket. */
export const NO_DAEMON = "NO_DAEMON";

/** What `path` answers, parsed. Throws FlannelError; {@link NO_DAEMON} if no flanneld answers. */
export async function askDaemon<T>(socket: string, path: string): Promise<T> {
  return JSON.parse(await askDaemonText(socket, path)) as T;
}

/** The same as text. */
export async function askDaemonText(socket: string, path: string): Promise<string> {
  const response = await open(socket, path, {});
  response.setTimeout(TIMEOUT_MS, () => response.destroy(new Error("flanneld stopped answering")));
  let body: string;
  try {
    body = await text(response);
  } catch (error) {
    throw new FlannelError("EIO", `failed to read ${path} of ${socket}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  if (response.statusCode !== 200) throw new FlannelError("EIO", `${path}: ${body.trim()}`);
  return body;
}

/** The data of the events, until the daemon ends or `signal` is aborted. */
export async function* readEvents(
  socket: string,
  { isFollowing, signal }: { readonly isFollowing: boolean; readonly signal: AbortSignal },
): AsyncGenerator<unknown> {
  const response = await open(socket, `/v1/events${isFollowing ? "" : "?follow=false"}`, {
    "Last-Event-ID": "0",
  });
  if (response.statusCode !== 200)
    throw new FlannelError("EIO", `/v1/events: ${(await text(response)).trim()}`);
  const stop = () => response.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    let rest = "";
    for await (const chunk of response.setEncoding("utf8")) {
      const frames = (rest + String(chunk)).split("\n\n");
      rest = frames.pop()!;
      for (const frame of frames) {
        const data = /^data: (\{"at".*)$/m.exec(frame)?.[1];
        if (data !== undefined) yield JSON.parse(data);
      }
    }
  } catch (error) {
    if (signal.aborted) return;
    throw new FlannelError("EIO", `flanneld at ${socket} ended the events: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    signal.removeEventListener("abort", stop);
    response.destroy();
  }
}

async function open(
  socket: string,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent = request({ socketPath: socket, path, headers, agent: false }, resolve);
  sent.setTimeout(TIMEOUT_MS, () => sent.destroy(new Error("no answer")));
  sent.once("error", reject);
  sent.end();
  try {
    const response = await promise;
    sent.setTimeout(0);
    return response;
  } catch (error) {
    throw new FlannelError(NO_DAEMON, explain(error, socket), { cause: error });
  }
}

function explain(error: unknown, socket: string): string {
  if (hasCode(error, "EACCES")) return `not permitted to use ${socket}; run as root`;
  const how = hasCode(error, "ENOENT") || hasCode(error, "ECONNREFUSED") ? "" : `: ${messageOf(error)}`;
  return `no flanneld answers at ${socket}${how}; start flanneld, or name its socket with --socket (it is beside the file of flanneld's --subnet-file)`;
}
