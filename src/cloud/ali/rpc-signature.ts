/**
 * Signature version 1.0 of Alibaba Cloud's RPC APIs, HMAC-SHA1: what the VPC API of 2016-04-28 takes.
 * https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism
 */

import { createHmac } from "node:crypto";

/** RFC 3986's unreserved characters stay as they are, which encodeURIComponent leaves five more of. */
const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/** The query of these parameters, without a signature: sorted by name, encoded. */
export const canonicalQuery = (parameters: Readonly<Record<string, string>>): string =>
  Object.keys(parameters)
    .sort()
    .map((name) => `${encode(name)}=${encode(parameters[name]!)}`)
    .join("&");

/** The value of the parameter `Signature` (base64) of a request with all its other parameters. */
export function signRpc(
  method: "GET" | "POST",
  parameters: Readonly<Record<string, string>>,
  accessKeySecret: string,
): string {
  const text = `${method}&${encode("/")}&${encode(canonicalQuery(parameters))}`;
  return createHmac("sha1", `${accessKeySecret}&`).update(text).digest("base64");
}
