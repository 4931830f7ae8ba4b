/** Whether a host answers TCP at all: a refused connection is an answer, too (RFC 9293 §3.5.2). */

import { connect } from "node:net";
import { formatIp, type Ip } from "../address/ip.ts";

/** ssh, which firewalls allow, and discard, which is closed: one of the two usually answers. */
const PORTS = [22, 9];
const TIMEOUT_MS = 800;

/** Resolves within 800 ms; never rejects. */
export async function answersTcp(ip: Ip): Promise<boolean> {
  const attempts = PORTS.map((port) => answersOn(formatIp(ip), port));
  return Promise.any(attempts).then(
    () => true,
    () => false,
  );
}

/** Rejects if there is no answer. */
function answersOn(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: TIMEOUT_MS });
    const finish = (isAnswered: boolean): void => {
      socket.destroy();
      if (isAnswered) resolve();
      else reject(new Error("no answer"));
    };
    socket.once("connect", () => finish(true));
    socket.once("timeout", () => finish(false));
    socket.once("error", ({ code }: NodeJS.ErrnoException) => finish(code === "ECONNREFUSED"));
  });
}
