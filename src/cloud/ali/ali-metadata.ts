/**
 * The metadata service of Alibaba Cloud's ECS: who this instance is, and the credentials of its RAM role. Where the service
 * runs in hardened mode, with a session token.
 * https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
 * https://www.alibabacloud.com/help/en/ecs/user-guide/use-instance-identities
 */

import { messageOf } from "../../base/error.ts";
import type { Credentials } from "../access-key.ts";
import { type Json, readJson, textAt } from "../answer-json.ts";
import { CloudError } from "../cloud.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import type { Expires } from "../expiring.ts";
import type { HttpAnswer } from "../http.ts";

/** The URL in place of the service's; ours. */
const URL_VARIABLE = "ALIBABA_CLOUD_METADATA_URL";
const DEFAULT_URL = "http://100.100.100.200";
const TIMEOUT_MS = 10_000;
const TOKEN_SECONDS = 21_600;
const TOKEN_HEADER = "x-aliyun-ecs-metadata-token";
const ROLES = "meta-data/ram/security-credentials/";

/** This instance. */
export interface AliInstance {
  readonly id: string;
  readonly region: string;
  /** Address of the primary network interface. */
  readonly address: string;
  /** The vSwitch of the primary network interface. */
  readonly vSwitch: string;
}

/** Every method throws CloudError. */
export class AliMetadata {
  readonly #ports: CloudPorts;
  readonly #base: string;
  #token: string | undefined;

  constructor(ports: CloudPorts) {
    this.#ports = ports;
    const base = ports.environment[URL_VARIABLE] || DEFAULT_URL;
    if (!URL.canParse(base))
      throw new CloudError("REFUSED", `${URL_VARIABLE} must be a URL such as ${DEFAULT_URL}`);
    this.#base = `${base.replace(/\/$/, "")}/latest/`;
  }

  async instance(signal: AbortSignal): Promise<AliInstance> {
    const document = await this.#json("dynamic/instance-identity/document", signal);
    const [id, region] = [textAt(document, "instance-id"), textAt(document, "region-id")];
    const vSwitch = await this.#text("meta-data/vswitch-id", signal);
    // The region becomes part of the host name that credentials are sent to.
    if (!/^i-[\w-]+$/.test(id) || !/^[a-z0-9-]+$/.test(region) || !/^vsw-[\w-]+$/.test(vSwitch)) {
      throw new CloudError(
        "NOT_UNDERSTOOD",
        `the metadata service at ${this.#base} named no instance of a VPC; is this host an ECS instance in one?`,
      );
    }
    return { id, region, address: textAt(document, "private-ipv4"), vSwitch };
  }

  async credentials(signal: AbortSignal): Promise<Expires<Credentials>> {
    const [, answer] = await this.#get(ROLES, signal);
    const role = answer.status === 200 ? answer.body.trim() : "";
    if (!/^[\w.@-]+$/.test(role)) {
      throw new CloudError(
        "CREDENTIALS",
        "the ali-vpc backend has no credentials; set Backend.AccessKeyID and AccessKeySecret, or ACCESS_KEY_ID and ACCESS_KEY_SECRET in the environment, or attach a RAM role to this instance",
      );
    }
    const json = await this.#json(ROLES + role, signal);
    const value = {
      id: textAt(json, "AccessKeyId"),
      secret: textAt(json, "AccessKeySecret"),
      token: textAt(json, "SecurityToken"),
    };
    const expiresAtMs = Date.parse(textAt(json, "Expiration"));
    if (value.id === "" || value.secret === "" || value.token === "" || Number.isNaN(expiresAtMs))
      throw new CloudError(
        "NOT_UNDERSTOOD",
        `the metadata service answered no credentials for RAM role ${role}`,
      );
    return { value, expiresAtMs };
  }

  async #text(path: string, signal: AbortSignal): Promise<string> {
    return (await this.#answer(path, signal))[1].body.trim();
  }

  async #json(path: string, signal: AbortSignal): Promise<Json> {
    return readJson(...(await this.#answer(path, signal)));
  }

  async #answer(path: string, signal: AbortSignal): Promise<[URL, HttpAnswer]> {
    const [url, answer] = await this.#get(path, signal);
    if (answer.status === 200) return [url, answer];
    throw new CloudError(
      answer.status === 404 ? "NOT_FOUND" : "UNAVAILABLE",
      `the metadata service at ${url.host} answered status ${answer.status} for ${path}`,
    );
  }

  /** Any status; a token is fetched once the service asks for one, or refuses the old one. */
  async #get(path: string, signal: AbortSignal): Promise<[URL, HttpAnswer]> {
    const url = new URL(this.#base + path);
    const headers = (): Record<string, string> =>
      this.#token === undefined ? {} : { [TOKEN_HEADER]: this.#token };
    const answer = await this.#send("GET", url, headers(), signal);
    if (answer.status !== 401 && answer.status !== 403) return [url, answer];
    const ttl = { [`${TOKEN_HEADER}-ttl-seconds`]: `${TOKEN_SECONDS}` };
    const token = await this.#send("PUT", new URL(`${this.#base}api/token`), ttl, signal);
    this.#token = token.status === 200 ? token.body.trim() : undefined;
    return [url, await this.#send("GET", url, headers(), signal)];
  }

  async #send(
    method: "GET" | "PUT",
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    try {
      return await this.#ports.direct({ method, url, headers, timeoutMs: TIMEOUT_MS, signal });
    } catch (error) {
      throw new CloudError(
        "UNAVAILABLE",
        `the ali-vpc backend needs the metadata service of Alibaba Cloud; is this host an ECS instance, and may this process reach it: ${messageOf(error)}`,
      );
    }
  }
}
