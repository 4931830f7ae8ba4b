/**
 * Calls of Alibaba Cloud's VPC API of 2016-04-28: signed RPC requests over HTTPS, parameters in the body, answers in JSON.
 * https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-overview
 */

import { randomUUID } from "node:crypto";
import type { Credentials } from "../access-key.ts";
import { type Json, readJson } from "../answer-json.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import { endpointOf } from "../endpoint.ts";
import type { Expiring } from "../expiring.ts";
import { errorOfAliAnswer } from "./ali-error.ts";
import { canonicalQuery, signRpc } from "./rpc-signature.ts";

/** The URL in place of the API's, such as https://vpc-vpc.cn-hangzhou.aliyuncs.com inside a VPC without internet; ours. */
const ENDPOINT_VARIABLE = "ALIBABA_CLOUD_VPC_ENDPOINT";

export class AliVpcApi {
  readonly #ports: CloudPorts;
  readonly #credentials: Expiring<Credentials>;

  constructor(credentials: Expiring<Credentials>, ports: CloudPorts) {
    this.#ports = ports;
    this.#credentials = credentials;
  }

  /** Throws CloudError. */
  async call(
    action: string,
    region: string,
    parameters: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Json> {
    const { id, secret, token } = await this.#credentials.get(signal);
    const url = this.#endpoint(region);
    const all = {
      ...parameters,
      ...{ Action: action, Version: "2016-04-28", Format: "JSON", RegionId: region, AccessKeyId: id },
      ...{ SignatureMethod: "HMAC-SHA1", SignatureVersion: "1.0", SignatureNonce: randomUUID() },
      Timestamp: `${new Date(this.#ports.wallClockMs()).toISOString().slice(0, 19)}Z`,
      ...(token !== undefined && { SecurityToken: token }),
    };
    const answer = await this.#ports.http({
      ...{ method: "POST", url, signal },
      headers: { "content-type": "application/x-www-form-urlencoded", "user-agent": "flanneld" },
      body: canonicalQuery({ ...all, Signature: signRpc("POST", all, secret) }),
    });
    const json = readJson(url, answer);
    if (answer.status >= 200 && answer.status < 300) return json;
    const error = errorOfAliAnswer(action, json, answer, this.#ports.wallClockMs());
    if (error.code === "CREDENTIALS") this.#credentials.drop();
    throw error;
  }

  #endpoint(region: string): URL {
    const regional = `https://vpc.${region}.aliyuncs.com/`;
    return new URL(endpointOf(this.#ports.environment, ENDPOINT_VARIABLE, regional));
  }
}
