/**
 * AWS credentials by the SDKs' usual chain: environment, web identity (a role for a Kubernetes service account), container
 * endpoint (ECS, EKS Pod Identity), role of the instance. Temporary ones are refreshed before they expire.
 * https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
 */

import { messageOf } from "../../base/error.ts";
import { CloudError } from "../cloud.ts";
import type { CloudPorts } from "../cloud-ports.ts";
import { notUnderstood } from "../http.ts";
import type { AwsMetadata } from "./metadata.ts";
import { readXml, textOf } from "./xml.ts";

/** Credentials of one call; never logged. */
export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
  /** Wall-clock time; undefined = they do not expire. */
  readonly expiresAtMs?: number | undefined;
}

/** What the chain needs of its process. */
export interface CredentialPorts extends Pick<CloudPorts, "environment" | "http" | "direct" | "wallClockMs"> {
  readonly metadata: Pick<AwsMetadata, "read">;
  /** Text of a file; undefined if it cannot be read. */
  readonly readFile: (path: string) => string | undefined;
  /** Endpoint of STS in the host's region. */
  readonly stsEndpoint: (signal: AbortSignal) => Promise<URL>;
}

/** Refreshed this long before they expire; EC2 offers new ones at least five minutes before. */
const MARGIN_MS = 300_000;
/** After a refresh that failed while the old ones are valid. */
const RETRY_MS = 60_000;
const CONTAINER_HOST = "http://169.254.170.2";
/** The hosts that the SDKs send a container's authorization token to without TLS. */
const CONTAINER_HOSTS = [
  "169.254.170.2",
  "169.254.170.23",
  "[fd00:ec2::23]",
  "localhost",
  "127.0.0.1",
  "[::1]",
];

export class CredentialChain {
  readonly #ports: CredentialPorts;
  #known: AwsCredentials | undefined;
  #refreshAtMs = 0;

  constructor(ports: CredentialPorts) {
    this.#ports = ports;
  }

  /** Valid credentials. Throws CloudError CREDENTIALS that says where they were looked for. */
  async get(signal: AbortSignal): Promise<AwsCredentials> {
    const nowMs = this.#ports.wallClockMs();
    if (this.#known !== undefined && nowMs < this.#refreshAtMs) return this.#known;
    try {
      const fresh = await this.#find(signal);
      this.#known = fresh;
      this.#refreshAtMs =
        fresh.expiresAtMs === undefined
          ? Number.POSITIVE_INFINITY
          : Math.max(nowMs + RETRY_MS, fresh.expiresAtMs - MARGIN_MS);
      return fresh;
    } catch (error) {
      const isValid = (this.#known?.expiresAtMs ?? 0) > nowMs;
      if (!(error instanceof CloudError) || !isValid) throw error;
      this.#refreshAtMs = nowMs + RETRY_MS;
      return this.#known!;
    }
  }

  /** After the API refused them: the next call finds them again. */
  forget(): void {
    this.#known = undefined;
  }

  async #find(signal: AbortSignal): Promise<AwsCredentials> {
    const { environment } = this.#ports;
    const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = environment;
    if (accessKeyId && secretAccessKey)
      return { accessKeyId, secretAccessKey, sessionToken: environment.AWS_SESSION_TOKEN || undefined };
    if (environment.AWS_WEB_IDENTITY_TOKEN_FILE) return this.#assumeRole(signal);
    const { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: relative, AWS_CONTAINER_CREDENTIALS_FULL_URI: full } =
      environment;
    if (relative || full)
      return this.#askContainer(relative ? `${CONTAINER_HOST}${relative}` : full!, signal);
    return this.#askInstance(signal);
  }

  /** https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html */
  async #assumeRole(signal: AbortSignal): Promise<AwsCredentials> {
    const { environment, readFile, http, stsEndpoint } = this.#ports;
    const path = environment.AWS_WEB_IDENTITY_TOKEN_FILE!;
    const token = readFile(path)?.trim();
    if (!token) throw new CloudError("CREDENTIALS", `failed to read AWS_WEB_IDENTITY_TOKEN_FILE ${path}`);
    const role = environment.AWS_ROLE_ARN;
    if (!role)
      throw new CloudError(
        "CREDENTIALS",
        "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not; set both",
      );
    const url = await stsEndpoint(signal);
    const body = new URLSearchParams({
      ...{ Action: "AssumeRoleWithWebIdentity", Version: "2011-06-15", RoleArn: role },
      ...{ RoleSessionName: environment.AWS_ROLE_SESSION_NAME || "flanneld", WebIdentityToken: token },
    }).toString();
    const headers = { "content-type": "application/x-www-form-urlencoded; charset=utf-8" };
    const answer = await http({ method: "POST", url, headers, body, signal });
    const root = readXml(answer.body);
    if (root === undefined) throw notUnderstood(url, answer, "XML");
    const path4 = ["AssumeRoleWithWebIdentityResult", "Credentials"] as const;
    const field = (name: string) => textOf(root, ...path4, name);
    if (answer.status !== 200 || field("AccessKeyId") === undefined) {
      const code = textOf(root, "Error", "Code") ?? `status ${answer.status}`;
      const why = `${code}: ${textOf(root, "Error", "Message") ?? "no message"}`.slice(0, 300);
      const isTransient = answer.status >= 500 || code === "Throttling" || code === "IDPCommunicationError";
      throw new CloudError(
        code === "Throttling" ? "RATE_LIMITED" : isTransient ? "UNAVAILABLE" : "CREDENTIALS",
        `STS refused to assume ${role} with the web identity of ${path}: ${why}; check the role's trust policy`,
      );
    }
    return this.#checked(
      {
        ...{ AccessKeyId: field("AccessKeyId"), SecretAccessKey: field("SecretAccessKey") },
        ...{ Token: field("SessionToken"), Expiration: field("Expiration") },
      },
      "STS",
    );
  }

  /** https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html */
  async #askContainer(address: string, signal: AbortSignal): Promise<AwsCredentials> {
    const { environment, readFile, direct } = this.#ports;
    const url = URL.parse(address);
    if (url === null || (url.protocol !== "https:" && !CONTAINER_HOSTS.includes(url.hostname)))
      throw new CloudError(
        "CREDENTIALS",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor on one of the hosts of ECS and EKS",
      );
    const { AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file, AWS_CONTAINER_AUTHORIZATION_TOKEN: given } =
      environment;
    const token = file ? readFile(file)?.trim() : given;
    if (file && !token)
      throw new CloudError("CREDENTIALS", `failed to read AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE ${file}`);
    const headers: Record<string, string> = token ? { authorization: token } : {};
    const answer = await direct({ method: "GET", url, headers, timeoutMs: 5_000, signal });
    if (answer.status !== 200)
      throw new CloudError(
        "CREDENTIALS",
        `the container endpoint ${url.host} answered with status ${answer.status}`,
      );
    return this.#checked(parseJson(answer.body), `the container endpoint ${url.host}`);
  }

  async #askInstance(signal: AbortSignal): Promise<AwsCredentials> {
    const { metadata } = this.#ports;
    let role: string | undefined;
    try {
      role = (await metadata.read("meta-data/iam/security-credentials/", signal))?.split("\n")[0];
    } catch (error) {
      throw new CloudError(
        "CREDENTIALS",
        `no credentials: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor AWS_WEB_IDENTITY_TOKEN_FILE, nor a container endpoint are set, and ${messageOf(error)}`,
      );
    }
    if (!role)
      throw new CloudError(
        "CREDENTIALS",
        "no credentials: nothing is set in the environment, and this instance has no role; " +
          "attach an instance profile with the policy of docs/cloud.md, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
      );
    const text = await metadata.read(
      `meta-data/iam/security-credentials/${encodeURIComponent(role)}`,
      signal,
    );
    return this.#checked(parseJson(text ?? ""), `the instance's role ${role}`);
  }

  #checked(value: unknown, source: string): AwsCredentials {
    const { AccessKeyId, SecretAccessKey, Token, Expiration, Code } = (value ?? {}) as Record<
      string,
      unknown
    >;
    if (typeof AccessKeyId !== "string" || typeof SecretAccessKey !== "string") {
      const why = typeof Code === "string" && Code !== "Success" ? `: ${Code.slice(0, 60)}` : "";
      throw new CloudError("CREDENTIALS", `${source} gave no credentials${why}`);
    }
    const expiresAtMs = typeof Expiration === "string" ? Date.parse(Expiration) : undefined;
    if (expiresAtMs !== undefined && !(expiresAtMs > this.#ports.wallClockMs()))
      throw new CloudError(
        "CREDENTIALS",
        `${source} gave credentials that expired at ${String(Expiration).slice(0, 40)}; check this host's clock`,
      );
    return {
      ...{ accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, expiresAtMs },
      sessionToken: typeof Token === "string" ? Token : undefined,
    };
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
