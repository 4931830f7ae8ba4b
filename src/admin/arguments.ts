/** What an operator writes on the command line: subnets and addresses, one per family, with a comma between. */

import { familyName } from "../address/family.ts";
import { type Family, formatIp, type Ip, parseIp } from "../address/ip.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { SubnetPair } from "../lease/lease.ts";

/** "10.5.3.0/24", "fc00:0:0:3::/64", "10.5.3.0/24,fc00:0:0:3::/64". Throws ConfigError. */
export function parseSubnets(text: string): SubnetPair {
  return pairOf(text, "subnet", "10.5.3.0/24", parseSubnet);
}

/** "192.168.64.3", "2001:db8::3", or both. Throws ConfigError. */
export function parsePublicIps(text: string): { ipv4: Ip | undefined; ipv6: Ip | undefined } {
  return pairOf(text, "address", "192.168.64.3", (part) => {
    const ip = parseIp(part);
    return ip?.value === 0n ? undefined : ip; // what flannel writes for “none”
  });
}

/** Without host bits: a mistyped subnet is not rounded to another host's. */
function parseSubnet(text: string): Prefix | undefined {
  const prefix = parsePrefix(text);
  const address = parseIp(text.slice(0, text.indexOf("/")));
  if (prefix === undefined || address === undefined) return undefined;
  if (prefix.base !== address.value) {
    throw new ConfigError(
      `no subnet begins at ${formatIp(address)}: the address is in ${formatPrefix(prefix)}`,
    );
  }
  return prefix;
}

function pairOf<T extends { readonly family: Family }>(
  text: string,
  what: string,
  example: string,
  parse: (part: string) => T | undefined,
): { ipv4: T | undefined; ipv6: T | undefined } {
  const pair: { ipv4: T | undefined; ipv6: T | undefined } = { ipv4: undefined, ipv6: undefined };
  for (const part of text.split(",")) {
    const value = parse(part);
    if (value === undefined) {
      throw new ConfigError(
        `${JSON.stringify(part)} is not a ${what === "address" ? "usable " : ""}${what} like ${example}`,
      );
    }
    const family = familyName(value.family);
    if (pair[family] !== undefined) {
      throw new ConfigError(
        `${JSON.stringify(text)} names two IPv${value.family} ${what === "address" ? "addresses" : "subnets"}: one per family`,
      );
    }
    pair[family] = value;
  }
  return pair;
}
