/**
 * The Host header of requests for reports (RFC 9110, 7.2). A web page can make its own name resolve to a loopback
 * address and have the browser read from there (DNS rebinding); such requests carry the page's name.
 */

import { hostname } from "node:os";
import { parseIp } from "../address/ip.ts";

/**
 * Whether `host` can only mean this host: an IP address, "localhost", or this host's name, each with or without a port.
 * Undefined = no header (HTTP/1.0), which no browser sends: true.
 */
export function namesThisHost(host: string | undefined): boolean {
  if (host === undefined) return true;
  const [, ipv6, other] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::\d{1,5})?$/.exec(host) ?? [];
  if (ipv6 !== undefined) return parseIp(ipv6.replace(/%.*/s, ""))?.family === 6;
  if (other === undefined) return false;
  const name = other.toLowerCase().replace(/\.$/, "");
  return parseIp(name)?.family === 4 || name === "localhost" || name === hostname().toLowerCase();
}
