/**
 * EC2's error codes in this program's words, with what an operator can do.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
 */

import { printable } from "../../base/printable.ts";
import { CloudError, type CloudErrorCode } from "../cloud.ts";
import { type HttpAnswer, retryAfterMsOf } from "../http.ts";

const CODES: Readonly<Record<string, CloudErrorCode>> = {
  UnauthorizedOperation: "PERMISSION",
  AccessDenied: "PERMISSION",
  AccessDeniedException: "PERMISSION",
  RequestLimitExceeded: "RATE_LIMITED",
  Throttling: "RATE_LIMITED",
  ThrottlingException: "RATE_LIMITED",
  RequestThrottled: "RATE_LIMITED",
  SlowDown: "RATE_LIMITED",
  RouteAlreadyExists: "EXISTS",
  "InvalidRoute.NotFound": "NOT_FOUND",
  "InvalidRouteTableID.NotFound": "NOT_FOUND",
  "InvalidRouteTableId.NotFound": "NOT_FOUND",
  "InvalidInstanceID.NotFound": "NOT_FOUND",
  "InvalidNetworkInterfaceID.NotFound": "NOT_FOUND",
  RouteLimitExceeded: "LIMIT_REACHED",
  AuthFailure: "CREDENTIALS",
  InvalidClientTokenId: "CREDENTIALS",
  InvalidAccessKeyId: "CREDENTIALS",
  UnrecognizedClientException: "CREDENTIALS",
  MissingAuthenticationToken: "CREDENTIALS",
  IncompleteSignature: "CREDENTIALS",
  SignatureDoesNotMatch: "CREDENTIALS",
  ExpiredToken: "CREDENTIALS",
  ExpiredTokenException: "CREDENTIALS",
  RequestExpired: "CREDENTIALS",
  OptInRequired: "CREDENTIALS",
  IncorrectState: "CONFLICT",
  InternalError: "UNAVAILABLE",
  InternalFailure: "UNAVAILABLE",
  ServiceUnavailable: "UNAVAILABLE",
  Unavailable: "UNAVAILABLE",
};

/** A signature is good for five minutes, in some services fifteen. */
const TOLERATED_SKEW_MS = 240_000;
const LONGEST_MESSAGE = 300;

/** The error for a refused call of `action`; `wallClockMs` is this host's clock. */
export function awsError(
  action: string,
  code: string,
  message: string,
  answer: HttpAnswer,
  wallClockMs: number,
): CloudError {
  const permission = `ec2:${action}`;
  const known = CODES[code] ?? (answer.status >= 500 ? "UNAVAILABLE" : "REFUSED");
  // The encoded part is a kilobyte that only `aws sts decode-authorization-message` understands.
  const text = printable(message.replace(/ *Encoded authorization failure message:.*/s, "")).slice(
    0,
    LONGEST_MESSAGE,
  );
  const why = `${action}: ${code}: ${text}`;
  const skewMs = Date.parse(answer.headers.date ?? "") - wallClockMs;
  if (known === "CREDENTIALS" && Math.abs(skewMs) > TOLERATED_SKEW_MS) {
    const minutes = Math.round(Math.abs(skewMs) / 60_000);
    return new CloudError(
      "CLOCK_SKEW",
      `this host's clock is ${minutes} min ${skewMs > 0 ? "behind" : "ahead of"} EC2's, so that its signatures are refused; synchronize it (chronyc makestep): ${why}`,
    );
  }
  switch (known) {
    case "PERMISSION":
      return new CloudError(
        known,
        `the permission ${permission} is missing; allow it in the IAM policy of this host's credentials: ${why}`,
        { permission },
      );
    case "RATE_LIMITED":
      return new CloudError(known, `EC2 limits the rate of calls: ${why}`, {
        retryAfterMs: retryAfterMsOf(answer, wallClockMs),
      });
    case "LIMIT_REACHED":
      return new CloudError(
        known,
        `the route table is full; ask AWS for a higher quota "Routes per route table", or delete routes: ${why}`,
      );
    case "CREDENTIALS":
      return new CloudError(known, `EC2 does not accept this host's credentials: ${why}`);
    default:
      return new CloudError(known, `${why}${adviceFor(text)}`, {
        retryAfterMs: retryAfterMsOf(answer, wallClockMs),
      });
  }
}

function adviceFor(message: string): string {
  if (/CIDR block .* (?:equal to|more specific)/i.test(message))
    return "; choose a Network for flannel outside of the VPC's address ranges";
  return "";
}
