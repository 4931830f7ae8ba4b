/**
 * Calls of Tencent Cloud's VPC API of 2017-03-12: JSON over HTTPS, signed with TC3-HMAC-SHA256.
 * https://www.tencentcloud.com/document/product/215/15692
 */

import type { Credentials } from "../access-key.ts";
import { type Json, readJson, valueAt } from "../answer-json.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import { endpointOf } from "../endpoint.ts";
import type { Expiring } from "../expiring.ts";
import { notUnderstood } from "../http.ts";
import { CONTENT_TYPE, signTc3 } from "./tc3-signature.ts";
import { errorOfTencentAnswer } from "./tencent-error.ts";

/** The URL in place of the API's, such as https://vpc.internal.tencentcloudapi.com inside a VPC without internet; ours. */
const ENDPOINT_VARIABLE = "TENCENTCLOUD_VPC_ENDPOINT";
const DEFAULT_ENDPOINT = "https://vpc.tencentcloudapi.com/";

export class TencentVpcApi {
  readonly #ports: CloudPorts;
  readonly #credentials: Expiring<Credentials>;
  readonly #url: URL;

  /** Throws CloudError for an endpoint that is no URL. */
  constructor(credentials: Expiring<Credentials>, ports: CloudPorts) {
    this.#ports = ports;
    this.#credentials = credentials;
    // The path is part of what is signed, and "/".
    this.#url = new URL("/", endpointOf(ports.environment, ENDPOINT_VARIABLE, DEFAULT_ENDPOINT));
  }

  /** `Response` of the answer. Throws CloudError. */
  async call(action: string, region: string, parameters: Json, signal: AbortSignal): Promise<Json> {
    const { id: secretId, secret: secretKey, token } = await this.#credentials.get(signal);
    const url = this.#url;
    const body = JSON.stringify(parameters);
    const timestampS = Math.floor(this.#ports.wallClockMs() / 1000);
    const answer = await this.#ports.http({
      ...{ method: "POST", url, body, signal },
      headers: {
        ...{ host: url.host, "content-type": CONTENT_TYPE, "user-agent": "flanneld" },
        authorization: signTc3({ service: "vpc", host: url.host, body, timestampS, secretId, secretKey }),
        ...{ "x-tc-action": action, "x-tc-version": "2017-03-12", "x-tc-region": region },
        "x-tc-timestamp": `${timestampS}`,
        ...(token !== undefined && { "x-tc-token": token }),
      },
    });
    const json = readJson(url, answer);
    const error = errorOfTencentAnswer(action, json, answer, this.#ports.wallClockMs());
    if (error?.code === "CREDENTIALS") this.#credentials.drop();
    if (error !== undefined) throw error;
    const response = valueAt(json, "Response");
    if (typeof response !== "object" || response === null) throw notUnderstood(url, answer, "JSON");
    return response as Json;
  }
}
