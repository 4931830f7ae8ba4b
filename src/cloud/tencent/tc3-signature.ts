/**
 * Signature v3 of Tencent Cloud's API 3.0, TC3-HMAC-SHA256, of POST requests with a JSON body.
 * https://www.tencentcloud.com/document/product/1278/55259 (Signature v3)
 */

import { createHash, createHmac } from "node:crypto";

const ALGORITHM = "TC3-HMAC-SHA256";
/** The type of every body; it is part of what is signed. */
export const CONTENT_TYPE = "application/json; charset=utf-8";

/** What is signed. */
export interface Tc3Request {
  /** "vpc": the first label of the API's host name. */
  readonly service: string;
  /** The Host header. */
  readonly host: string;
  readonly body: string;
  /** Seconds since 1970, the header X-TC-Timestamp. */
  readonly timestampS: number;
  readonly secretId: string;
  readonly secretKey: string;
}

/** The header Authorization. */
export function signTc3({ service, host, body, timestampS, secretId, secretKey }: Tc3Request): string {
  const signedHeaders = "content-type;host";
  const headers = `content-type:${CONTENT_TYPE}\nhost:${host}\n`;
  const canonicalRequest = ["POST", "/", "", headers, signedHeaders, sha256(body)].join("\n");
  const date = new Date(timestampS * 1000).toISOString().slice(0, 10);
  const scope = `${date}/${service}/tc3_request`;
  const text = [ALGORITHM, timestampS, scope, sha256(canonicalRequest)].join("\n");
  const key = [date, service, "tc3_request"].reduce<Buffer | string>(hmac, `TC3${secretKey}`);
  const signature = hmac(key, text).toString("hex");
  return `${ALGORITHM} Credential=${secretId}/${scope}, SignedHeaders=${signedHeaders}, Signature=${signature}`;
}

const hmac = (key: Buffer | string, text: string): Buffer => createHmac("sha256", key).update(text).digest();

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
