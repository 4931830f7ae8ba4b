/** Series of ICMP echos: whether a host answers, how fast, and the largest packet that passes. */

import type { Ip } from "../../address/ip.ts";
import { messageOf } from "../../base/error.ts";
import { type DiagnosePorts, type EchoSocket, SMALLEST_ECHO_BYTES } from "./diagnose-ports.ts";

type Ports = Pick<DiagnosePorts, "openEcho" | "nowMs" | "sleep">;

/** Longest wait for an answer. */
const TIMEOUT_MS = 1_000;
const POLL_MS = 2;
/** Packets of one size that are sent before it counts as too large. */
const TRIES = 3;

/** What happened to one request. */
export type EchoOutcome = { readonly rttMs: number } | { readonly problem: string };

/** Whether a host answers an echo of the smallest size: the round-trip time, or why not. */
export async function firstEcho(
  ports: Ports,
  target: Ip,
  source?: Ip,
  attempts = TRIES,
): Promise<EchoOutcome> {
  using socket = openOrProblem(ports, target, source);
  if ("problem" in socket) return socket;
  let last: EchoOutcome = { problem: "no answer" };
  for (let sequence = 0; sequence < attempts; sequence++) {
    last = await echoOnce(ports, socket, sequence, SMALLEST_ECHO_BYTES, TIMEOUT_MS / 2);
    if ("rttMs" in last) return last;
  }
  return last;
}

/** Sends one request and waits for its answer. */
export async function echoOnce(
  { nowMs, sleep }: Ports,
  socket: EchoSocket,
  sequence: number,
  packetBytes: number,
  timeoutMs = TIMEOUT_MS,
): Promise<EchoOutcome> {
  const sentMs = nowMs();
  const sent = socket.send(sequence, packetBytes);
  if (sent === "too large") return { problem: "larger than the MTU of this host's device" };
  if (sent !== "sent") return { problem: `not sent: ${sent.error}` };
  while (nowMs() - sentMs < timeoutMs) {
    if (socket.receive().includes(sequence)) return { rttMs: nowMs() - sentMs };
    await sleep(POLL_MS);
  }
  return { problem: "no answer" };
}

/**
 * The largest IP packet up to `mostBytes` that passes unfragmented in both directions, by bisection; undefined if not even the
 * smallest does. Works also where ICMP “too big” is filtered, because only answers count.
 */
export async function largestPacket(
  ports: Ports,
  target: Ip,
  { mostBytes, rttMs, source }: { readonly mostBytes: number; readonly rttMs: number; readonly source?: Ip },
): Promise<number | undefined> {
  using socket = openOrProblem(ports, target, source);
  if ("problem" in socket) return undefined;
  const timeoutMs = Math.min(TIMEOUT_MS, Math.max(60, rttMs * 4));
  let sequence = 0;
  const passes = async (bytes: number): Promise<boolean> => {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const outcome = await echoOnce(ports, socket, sequence++ % 65_536, bytes, timeoutMs);
      if ("rttMs" in outcome) return true;
      if (outcome.problem !== "no answer") return false;
    }
    return false;
  };
  if (await passes(mostBytes)) return mostBytes;
  if (!(await passes(SMALLEST_ECHO_BYTES))) return undefined;
  let good = SMALLEST_ECHO_BYTES;
  let bad = mostBytes;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (await passes(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

/** The socket, or why there is none. */
function openOrProblem(
  ports: Pick<DiagnosePorts, "openEcho">,
  target: Ip,
  source?: Ip,
): EchoSocket | ({ readonly problem: string } & Disposable) {
  try {
    return ports.openEcho(target, source);
  } catch (error) {
    return { problem: messageOf(error), [Symbol.dispose]() {} };
  }
}
