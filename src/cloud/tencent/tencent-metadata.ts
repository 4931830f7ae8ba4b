/**
 * The metadata service of Tencent Cloud's CVM: who this instance is, and the credentials of its CAM role.
 * https://www.tencentcloud.com/document/product/213/4934 (metadata), https://www.tencentcloud.com/document/product/213/47668 (role)
 */

import { messageOf } from "../../base/error.ts";
import type { Credentials } from "../access-key.ts";
import { readJson, textAt, valueAt } from "../answer-json.ts";
import { CloudError } from "../cloud.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import type { Expires } from "../expiring.ts";
import type { HttpAnswer } from "../http.ts";

/** The URL in place of the service's; ours. */
const URL_VARIABLE = "TENCENTCLOUD_METADATA_URL";
const DEFAULT_URL = "http://metadata.tencentyun.com";
const TIMEOUT_MS = 10_000;
const ROLES = "cam/security-credentials/";

/** This instance. */
export interface TencentInstance {
  readonly id: string;
  readonly region: string;
  /** VPC and subnet of the primary network interface. */
  readonly vpc: string;
  readonly subnet: string;
}

/** Every method throws CloudError. */
export class TencentMetadata {
  readonly #ports: CloudPorts;
  readonly #base: string;

  constructor(ports: CloudPorts) {
    this.#ports = ports;
    const base = ports.environment[URL_VARIABLE] || DEFAULT_URL;
    if (!URL.canParse(base))
      throw new CloudError("REFUSED", `${URL_VARIABLE} must be a URL such as ${DEFAULT_URL}`);
    this.#base = `${base.replace(/\/$/, "")}/latest/meta-data/`;
  }

  async instance(signal: AbortSignal): Promise<TencentInstance> {
    const [id, region, mac] = await Promise.all(
      ["instance-id", "placement/region", "mac"].map((path) => this.#text(path, signal)),
    );
    const network = `network/interfaces/macs/${encodeURIComponent(mac!)}`;
    const [vpc, subnet] = await Promise.all(
      ["vpc-id", "subnet-id"].map((name) => this.#text(`${network}/${name}`, signal)),
    );
    return { id: id!, region: region!, vpc: vpc!, subnet: subnet! };
  }

  async credentials(signal: AbortSignal): Promise<Expires<Credentials>> {
    const [, list] = await this.#get(ROLES, signal);
    const role = list.status === 200 ? list.body.trim() : "";
    if (!/^[\w.@-]+$/.test(role)) {
      throw new CloudError(
        "CREDENTIALS",
        "the tencent-vpc backend has no credentials; set Backend.AccessKeyID and AccessKeySecret, or ACCESS_KEY_ID and ACCESS_KEY_SECRET in the environment, or attach a CAM role to this instance",
      );
    }
    const json = readJson(...(await this.#get(ROLES + role, signal)));
    const value = {
      id: textAt(json, "TmpSecretId"),
      secret: textAt(json, "TmpSecretKey"),
      token: textAt(json, "Token"),
    };
    const seconds = valueAt(json, "ExpiredTime");
    if (value.id === "" || value.secret === "" || value.token === "" || typeof seconds !== "number")
      throw new CloudError(
        "NOT_UNDERSTOOD",
        `the metadata service answered no credentials for CAM role ${role}`,
      );
    return { value, expiresAtMs: seconds * 1000 };
  }

  /** A name: nothing that could change a header or a URL. */
  async #text(path: string, signal: AbortSignal): Promise<string> {
    const [url, { status, body }] = await this.#get(path, signal);
    const text = body.trim();
    if (status === 200 && /^[\w:.-]+$/.test(text)) return text;
    throw new CloudError(
      status === 404 ? "NOT_FOUND" : status === 200 ? "NOT_UNDERSTOOD" : "UNAVAILABLE",
      `the metadata service at ${url.host} answered status ${status}${status === 200 ? " and no name" : ""} for ${path}; is this host a CVM instance in a VPC?`,
    );
  }

  async #get(path: string, signal: AbortSignal): Promise<[URL, HttpAnswer]> {
    const url = new URL(this.#base + path);
    try {
      return [url, await this.#ports.direct({ method: "GET", url, timeoutMs: TIMEOUT_MS, signal })];
    } catch (error) {
      throw new CloudError(
        "UNAVAILABLE",
        `the tencent-vpc backend needs the metadata service of Tencent Cloud; is this host a CVM instance, and may this process reach it: ${messageOf(error)}`,
      );
    }
  }
}
