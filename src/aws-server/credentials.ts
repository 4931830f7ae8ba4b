/**
 * The credentials that the server has given out, and whether a request is signed with them (Signature Version 4).
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
 */

import { randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import aws4 from "aws4";
import { Ec2Refusal } from "./vpc.ts";

/** As the metadata service and STS give them out. */
export interface Credentials {
  readonly AccessKeyId: string;
  readonly SecretAccessKey: string;
  readonly Token: string;
  /** ISO 8601. */
  readonly Expiration: string;
}

/** EC2 accepts signatures of this age. */
const TOLERATED_SKEW_MS = 300_000;

export class CredentialBook {
  /** How long new credentials are good for. */
  lifetimeMs = 6 * 3_600_000;
  readonly #known = new Map<string, Credentials>();
  readonly #wallClockMs: () => number;

  constructor(wallClockMs: () => number) {
    this.#wallClockMs = wallClockMs;
  }

  /** A key that never expires. */
  add({ AccessKeyId, SecretAccessKey }: Pick<Credentials, "AccessKeyId" | "SecretAccessKey">): void {
    this.#known.set(AccessKeyId, {
      AccessKeyId,
      SecretAccessKey,
      Token: "",
      Expiration: "9999-12-31T00:00:00Z",
    });
  }

  issue(): Credentials {
    const credentials = {
      AccessKeyId: `ASIA${randomBytes(8).toString("hex").toUpperCase()}`,
      SecretAccessKey: randomBytes(20).toString("hex"),
      Token: randomBytes(20).toString("hex"),
      Expiration: new Date(this.#wallClockMs() + this.lifetimeMs).toISOString(),
    };
    this.#known.set(credentials.AccessKeyId, credentials);
    return credentials;
  }

  /** Throws Ec2Refusal unless the request is signed with credentials that are good now. */
  check(headers: IncomingHttpHeaders, path: string, body: string): void {
    const given = headers.authorization ?? "";
    const [, id, region] = /Credential=([^/]+)\/\d{8}\/([^/]+)\/ec2\/aws4_request/.exec(given) ?? [];
    const known = id === undefined ? undefined : this.#known.get(id);
    const stamp = String(headers["x-amz-date"] ?? "");
    const failure = new Ec2Refusal(
      "AuthFailure",
      "AWS was not able to validate the provided access credentials",
      401,
    );
    if (known === undefined) throw failure;
    const iso = stamp.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z");
    if (!(Math.abs(Date.parse(iso) - this.#wallClockMs()) <= TOLERATED_SKEW_MS)) throw failure;
    const { headers: expected } = aws4.sign(
      {
        ...{ service: "ec2", region: region!, method: "POST", path, body },
        headers: {
          Host: headers.host,
          "Content-Type": headers["content-type"],
          "X-Amz-Date": stamp,
        },
      },
      {
        accessKeyId: known.AccessKeyId,
        secretAccessKey: known.SecretAccessKey,
        ...(headers["x-amz-security-token"] !== undefined && { sessionToken: known.Token }),
      },
    );
    if (expected!.Authorization !== given || (headers["x-amz-security-token"] ?? "") !== known.Token)
      throw failure;
    if (Date.parse(known.Expiration) < this.#wallClockMs())
      throw new Ec2Refusal("RequestExpired", "Request has expired.");
  }
}
