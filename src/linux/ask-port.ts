/** What a port of a host answers: UDP by an ICMP error (udp(7)), TCP by SYN-ACK or RST. */

import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { formatIp, type Ip } from "../address/ip.ts";

/** Hosts send one ICMP error a second to each address (icmp_ratelimit); other packets to the port compete for it. */
const RESEND_MS = 100;

/** "unreachable": an ICMP error other than "port unreachable", e.g. of a firewall that rejects. */
type PortAnswer = "open" | "refused" | "unreachable" | "silent";

const answerOf = (error: Error): PortAnswer =>
  (error as NodeJS.ErrnoException).code === "ECONNREFUSED" ? "refused" : "unreachable";

/** Sends datagrams of one byte until `timeoutMs`; an open port is silent, too. Never rejects. */
export function askUdpPort(target: Ip, port: number, timeoutMs: number): Promise<PortAnswer> {
  return new Promise((resolve) => {
    const socket = createSocket(target.family === 4 ? "udp4" : "udp6");
    const send = () => socket.send(new Uint8Array(1), () => {});
    let resend: NodeJS.Timeout | undefined;
    const end = (answer: PortAnswer) => {
      clearInterval(resend);
      clearTimeout(timer);
      socket.removeAllListeners().on("error", () => {});
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => end("silent"), timeoutMs);
    socket.on("error", (error) => end(answerOf(error)));
    socket.connect(port, formatIp(target), () => {
      send();
      resend = setInterval(send, RESEND_MS);
    });
  });
}

/** Opens a connection and closes it at once. Never rejects. */
export function askTcpPort(target: Ip, port: number, timeoutMs: number): Promise<PortAnswer> {
  return new Promise((resolve) => {
    const socket = connect({ host: formatIp(target), port });
    const end = (answer: PortAnswer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end("silent"), timeoutMs);
    socket.once("connect", () => end("open"));
    socket.once("error", (error) => end(answerOf(error)));
  });
}
