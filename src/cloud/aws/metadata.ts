/**
 * EC2's instance metadata service, version 2 (a session token by PUT, then GET), and version 1 where there is no other.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
 */

import type { Logger } from "../../base/logger.ts";
import { CloudError } from "../cloud.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import type { HttpAnswer } from "../http.ts";

const ENDPOINT = "http://169.254.169.254";
const ENDPOINT_IPV6 = "http://[fd00:ec2::254]";
const TOKEN_LIFE_S = 21_600;
/** It is on the instance's own host; an answer that takes longer does not come. */
const TIMEOUT_MS = 2_000;

const HOP_LIMIT =
  "in a container without the host's network its hop limit has to be 2: " +
  "aws ec2 modify-instance-metadata-options --instance-id INSTANCE --http-endpoint enabled --http-put-response-hop-limit 2";

/** What the metadata service needs of its process. */
interface MetadataPorts extends Pick<CloudPorts, "environment" | "direct" | "timers"> {
  readonly logger: Logger;
}

/** Reads metadata; throws CloudError with the remedy. */
export class AwsMetadata {
  readonly #ports: MetadataPorts;
  readonly #endpoint: string;
  /** "" = version 1. */
  #token: { readonly text: string; readonly untilMs: number } | undefined;

  constructor(ports: MetadataPorts) {
    this.#ports = ports;
    const { AWS_EC2_METADATA_SERVICE_ENDPOINT: given, AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE: mode } =
      ports.environment;
    this.#endpoint = (given || (mode?.toLowerCase() === "ipv6" ? ENDPOINT_IPV6 : ENDPOINT)).replace(
      /\/+$/,
      "",
    );
  }

  /** The text at a path below /latest ("meta-data/instance-id"); undefined = there is none. */
  async read(path: string, signal: AbortSignal): Promise<string | undefined> {
    const { AWS_EC2_METADATA_DISABLED: disabled } = this.#ports.environment;
    if (disabled?.toLowerCase() === "true")
      throw new CloudError(
        "UNAVAILABLE",
        "the metadata service is not asked: AWS_EC2_METADATA_DISABLED is set",
      );
    const token = await this.#readToken(signal);
    let answer = await this.#get(path, token, signal);
    if (answer.status === 401 && token !== "") {
      this.#token = undefined; // it expired, or the instance was restored from an image
      answer = await this.#get(path, await this.#readToken(signal), signal);
    }
    if (answer.status === 200) return answer.body.trim();
    if (answer.status === 404) return undefined;
    if (answer.status === 401)
      throw new CloudError(
        "UNAVAILABLE",
        `the metadata service requires a token (IMDSv2), and gives none; ${HOP_LIMIT}`,
      );
    if (answer.status === 403)
      throw new CloudError(
        "UNAVAILABLE",
        "the metadata service is switched off for this instance: aws ec2 modify-instance-metadata-options --instance-id INSTANCE --http-endpoint enabled",
      );
    throw new CloudError("UNAVAILABLE", `the metadata service answered ${path} with status ${answer.status}`);
  }

  async #get(path: string, token: string, signal: AbortSignal): Promise<HttpAnswer> {
    const headers: Record<string, string> = token === "" ? {} : { "x-aws-ec2-metadata-token": token };
    try {
      return await this.#send("GET", path, headers, signal);
    } catch (error) {
      if (!(error instanceof CloudError)) throw error;
      throw new CloudError(
        "UNAVAILABLE",
        `the metadata service of EC2 does not answer: ${error.message}; ${HOP_LIMIT}`,
      );
    }
  }

  /** "" = only version 1 answers. */
  async #readToken(signal: AbortSignal): Promise<string> {
    const { environment, logger, timers } = this.#ports;
    if (this.#token !== undefined && timers.nowMs() < this.#token.untilMs) return this.#token.text;
    let why: string;
    try {
      const headers = { "x-aws-ec2-metadata-token-ttl-seconds": `${TOKEN_LIFE_S}` };
      const answer = await this.#send("PUT", "api/token", headers, signal);
      if (answer.status === 200) {
        this.#token = { text: answer.body.trim(), untilMs: timers.nowMs() + (TOKEN_LIFE_S * 1000) / 2 };
        return this.#token.text;
      }
      why = `it answered with status ${answer.status}`;
    } catch (error) {
      if (!(error instanceof CloudError)) throw error;
      // The answer to PUT has a small TTL, so that a container does not receive it; version 1 may still answer.
      why = error.message;
    }
    if (environment.AWS_EC2_METADATA_V1_DISABLED?.toLowerCase() === "true")
      throw new CloudError(
        "UNAVAILABLE",
        `the metadata service gives no token (IMDSv2): ${why}; ${HOP_LIMIT}`,
      );
    if (this.#token === undefined)
      logger.debug(`The metadata service gives no token (${why}); trying version 1, without a token`);
    this.#token = { text: "", untilMs: timers.nowMs() + 60_000 };
    return "";
  }

  #send(
    method: "GET" | "PUT",
    path: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const url = new URL(`${this.#endpoint}/latest/${path}`);
    return this.#ports.direct({
      method,
      url,
      headers,
      timeoutMs: TIMEOUT_MS,
      signal,
      ...(method === "PUT" && { body: "" }),
    });
  }
}
