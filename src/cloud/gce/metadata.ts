/**
 * The metadata server of Google Compute Engine: who this instance is, and its access tokens.
 * https://cloud.google.com/compute/docs/metadata/querying-metadata
 * https://cloud.google.com/compute/docs/access/authenticate-workloads#applications
 */

import { messageOf } from "../../base/error.ts";
import { readJson, textAt, valueAt } from "../answer-json.ts";
import { CloudError } from "../cloud.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import type { Expires } from "../expiring.ts";
import type { HttpAnswer } from "../http.ts";

/** "host" or "host:port" in place of the metadata server, as for Google's own clients. */
const HOST_VARIABLE = "GCE_METADATA_HOST";
const DEFAULT_HOST = "169.254.169.254";
const TIMEOUT_MS = 10_000;
const ACCOUNT = "instance/service-accounts/default";

/** The values that flanneld needs. Every method throws CloudError. */
export class GceMetadata {
  readonly #ports: CloudPorts;
  readonly #base: string;

  constructor(ports: CloudPorts) {
    this.#ports = ports;
    this.#base = `http://${ports.environment[HOST_VARIABLE] || DEFAULT_HOST}/computeMetadata/v1/`;
    if (!URL.canParse(this.#base))
      throw new CloudError(
        "REFUSED",
        `${HOST_VARIABLE} must be a host name or address, with or without a port`,
      );
  }

  /** "projects/<number>/zones/<zone>/instances/<name>". */
  async instancePath(signal: AbortSignal): Promise<string> {
    const [zone, name] = await Promise.all([
      this.#text("instance/zone", signal),
      this.#text("instance/name", signal),
    ]);
    return `${zone}/instances/${name}`;
  }

  /** The OAuth scopes that tokens of this instance have. */
  async scopes(signal: AbortSignal): Promise<readonly string[]> {
    return (await this.#text(`${ACCOUNT}/scopes`, signal)).split("\n");
  }

  async token(signal: AbortSignal): Promise<Expires<string>> {
    const [url, answer] = await this.#get(`${ACCOUNT}/token`, signal);
    if (answer.status === 404) {
      throw new CloudError(
        "CREDENTIALS",
        "this instance has no service account; stop it and attach one: gcloud compute instances set-service-account INSTANCE --service-account EMAIL --scopes compute-rw",
      );
    }
    const json = readJson(url, answer);
    const value = textAt(json, "access_token");
    const seconds = valueAt(json, "expires_in");
    if (value === "" || typeof seconds !== "number")
      throw new CloudError("NOT_UNDERSTOOD", `the metadata server at ${url.host} answered no access token`);
    return { value, expiresAtMs: this.#ports.timers.nowMs() + seconds * 1000 };
  }

  async #text(path: string, signal: AbortSignal): Promise<string> {
    const [url, { status, body }] = await this.#get(path, signal);
    if (status === 200 && body !== "") return body.trim();
    throw new CloudError(
      status === 404 ? "NOT_FOUND" : "UNAVAILABLE",
      `the metadata server at ${url.host} answered status ${status} for ${path}`,
    );
  }

  async #get(path: string, signal: AbortSignal): Promise<[URL, HttpAnswer]> {
    const url = new URL(this.#base + path);
    let answer: HttpAnswer;
    try {
      answer = await this.#ports.direct({
        ...{ method: "GET", url, headers: { "metadata-flavor": "Google" }, timeoutMs: TIMEOUT_MS, signal },
      });
    } catch (error) {
      throw new CloudError(
        "UNAVAILABLE",
        `the gce backend needs the metadata server of Google Compute Engine; is this host an instance there, and may this process reach it: ${messageOf(error)}`,
      );
    }
    // Its presence is how Google's clients tell the metadata server from anything else at its address.
    if (answer.headers["metadata-flavor"] !== "Google") {
      throw new CloudError(
        "NOT_UNDERSTOOD",
        `what answers at ${url.host} is not the metadata server of Google Compute Engine (no header Metadata-Flavor); is this host an instance there?`,
      );
    }
    return [url, answer];
  }
}
