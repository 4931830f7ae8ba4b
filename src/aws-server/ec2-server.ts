/**
 * An EC2 for labs and tests: the routing part of the API, STS for web identities, and the metadata service of each instance,
 * which it knows by the address that a request comes from. Signatures, permissions and rates are checked as EC2 does.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { runAction } from "./actions.ts";
import { CredentialBook, type Credentials } from "./credentials.ts";
import { Ec2Refusal, type Vpc } from "./vpc.ts";
import { element } from "./xml.ts";

export interface Ec2ServerOptions {
  readonly vpc: Vpc;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default: any free one. */
  readonly port?: number;
  readonly wallClockMs?: () => number;
}

/** An answer in place of the server's own. */
export interface RawAnswer {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const ROLE = "flannel";
const METADATA_TOKEN = "AQAEALbbmetadata";

export class Ec2Server implements AsyncDisposable {
  readonly vpc: Vpc;
  readonly credentials: CredentialBook;
  /** The calls of the API that arrived, refused ones too. */
  readonly calls: string[] = [];
  /** Permissions that are missing ("ec2:CreateRoute"). */
  readonly denied = new Set<string>();
  /** Answers by action, or by path of the metadata service, in place of the server's own. */
  readonly answers = new Map<string, RawAnswer>();
  /** Tokens of web identities that STS accepts. */
  readonly identities = new Set<string>();
  /** Which versions the metadata service has, or whether its answers to PUT never arrive (hop limit). */
  metadata: "v1 and v2" | "v2" | "v1" | "v2 out of reach" | "off" = "v2";
  hasRole = true;
  /** Calls a second; undefined = unlimited. */
  callsPerSecond: number | undefined;
  readonly #server: Server;
  readonly #wallClockMs: () => number;
  #tokens = 0;
  #filledAtMs = 0;

  private constructor(server: Server, vpc: Vpc, wallClockMs: () => number) {
    this.#server = server;
    this.vpc = vpc;
    this.#wallClockMs = wallClockMs;
    this.credentials = new CredentialBook(wallClockMs);
    server.on("request", (request, response) => void this.#serve(request, response));
  }

  static async start({
    vpc,
    host = "127.0.0.1",
    port = 0,
    wallClockMs = Date.now,
  }: Ec2ServerOptions): Promise<Ec2Server> {
    const server = createServer();
    const ec2 = new Ec2Server(server, vpc, wallClockMs);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(port, host, resolve);
    });
    return ec2;
  }

  /** Of the API, and of the metadata service. */
  get url(): string {
    const { address, family, port } = this.#server.address() as AddressInfo;
    return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return; // the client went away
    }
    const body = Buffer.concat(chunks).toString();
    const path = request.url ?? "/";
    const answer = path.startsWith("/latest/")
      ? this.#metadataAnswer(request, path)
      : this.#apiAnswer(request, path, body);
    if (answer === undefined) return; // never answered
    response
      .writeHead(answer.status, { "content-type": "text/xml;charset=UTF-8", ...answer.headers })
      .end(answer.body);
  }

  #apiAnswer(request: IncomingMessage, path: string, body: string): RawAnswer {
    const form = new URLSearchParams(body);
    const action = form.get("Action") ?? "";
    this.calls.push(action);
    const given = this.answers.get(action);
    if (given !== undefined) return given;
    try {
      this.#limitRate();
      if (action === "AssumeRoleWithWebIdentity") return { status: 200, body: this.#assumeRole(form) };
      this.credentials.check(request.headers, path, body);
      if (this.denied.has(`ec2:${action}`)) {
        const message = `You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/${ROLE} is not authorized to perform: ec2:${action} because no identity-based policy allows the ec2:${action} action. Encoded authorization failure message: ${"x".repeat(400)}`;
        throw new Ec2Refusal("UnauthorizedOperation", message, 403);
      }
      return { status: 200, body: runAction(this.vpc, form) };
    } catch (error) {
      if (!(error instanceof Ec2Refusal)) throw error;
      return refusalAnswer(error, action === "AssumeRoleWithWebIdentity");
    }
  }

  #limitRate(): void {
    const rate = this.callsPerSecond;
    if (rate === undefined) return;
    const nowMs = this.#wallClockMs();
    this.#tokens = Math.min(rate, this.#tokens + ((nowMs - this.#filledAtMs) * rate) / 1000);
    this.#filledAtMs = nowMs;
    if (this.#tokens < 1) throw new Ec2Refusal("RequestLimitExceeded", "Request limit exceeded.", 503);
    this.#tokens--;
  }

  /** https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html */
  #assumeRole(form: URLSearchParams): string {
    if (!this.identities.has(form.get("WebIdentityToken") ?? ""))
      throw new Ec2Refusal(
        "InvalidIdentityToken",
        "Couldn't retrieve verification key from your identity provider",
      );
    const { AccessKeyId, SecretAccessKey, Token, Expiration } = this.credentials.issue();
    const fields = { AccessKeyId, SecretAccessKey, SessionToken: Token, Expiration };
    const credentials = Object.entries(fields).map(([name, value]) => element(name, value));
    const result = element("AssumeRoleWithWebIdentityResult", [element("Credentials", credentials)]);
    return element("AssumeRoleWithWebIdentityResponse", [result]);
  }

  /** Undefined = the answer does not arrive. */
  #metadataAnswer(request: IncomingMessage, path: string): RawAnswer | undefined {
    const name = path.slice("/latest/".length);
    const given = this.answers.get(name);
    if (given !== undefined) return given;
    const { metadata } = this;
    if (metadata === "off") return { status: 403, body: "" };
    if (name === "api/token" && request.method === "PUT") {
      if (metadata === "v1") return { status: 404, body: "" };
      if (metadata === "v2 out of reach") return undefined;
      return { status: 200, body: METADATA_TOKEN };
    }
    const token = request.headers["x-aws-ec2-metadata-token"];
    const isToken = token === METADATA_TOKEN;
    if (metadata !== "v1" && (token === undefined ? metadata !== "v1 and v2" : !isToken))
      return { status: 401, body: "" };
    const text = this.#metadataAt(name, request.socket.remoteAddress ?? "");
    return text === undefined ? { status: 404, body: "" } : { status: 200, body: text };
  }

  #metadataAt(name: string, remoteAddress: string): string | undefined {
    const address = remoteAddress.replace(/^::ffff:/, "");
    const eni = this.vpc.interfaces.values().find(({ addresses }) => addresses.includes(address));
    if (eni === undefined) return undefined;
    const credentials = (): Credentials => this.credentials.issue();
    switch (name) {
      case "meta-data/instance-id":
        return eni.instanceId;
      case "meta-data/placement/region":
        return "eu-central-1";
      case "meta-data/iam/security-credentials/":
        return this.hasRole ? ROLE : undefined;
      case `meta-data/iam/security-credentials/${ROLE}`:
        return this.hasRole
          ? JSON.stringify({ Code: "Success", Type: "AWS-HMAC", ...credentials() })
          : undefined;
      default:
        return undefined;
    }
  }
}

function refusalAnswer({ code, message, status }: Ec2Refusal, isSts: boolean): RawAnswer {
  const error = element("Error", [element("Code", code), element("Message", message)]);
  const body = isSts
    ? element("ErrorResponse", [error])
    : element("Response", [element("Errors", [error]), element("RequestID", "0")]);
  return { status, body: `<?xml version="1.0" encoding="UTF-8"?>\n${body}` };
}
