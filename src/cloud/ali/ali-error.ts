/**
 * What the error codes of Alibaba Cloud's VPC API mean.
 * https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-errorcodes
 * https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-createrouteentry
 */

import { shown, textAt } from "../answer-json.ts";
import { describeClockSkew } from "../clock-skew.ts";
import { CloudError, type CloudErrorCode } from "../cloud.ts";
import { type HttpAnswer, retryAfterMsOf } from "../http.ts";

/** The first that matches the code counts. Codes have families ("Throttling.User"), and their spelling varies. */
const MEANINGS: readonly (readonly [RegExp, CloudErrorCode])[] = [
  [/^Throttling/, "RATE_LIMITED"],
  [/^(?:InvalidTimeStamp|IllegalTimestamp)/i, "CLOCK_SKEW"],
  [/^(?:InvalidAccessKeyId|InvalidSecurityToken|SignatureDoesNotMatch|IncompleteSignature)/, "CREDENTIALS"],
  [/Quota/, "LIMIT_REACHED"],
  // One change of a VPC's routes at a time; "Forbbiden" (sic) = too soon after the last one.
  [
    /^(?:TaskConflict|OperationConflict|LastTokenProcessing|SystemBusy|Forbbiden|SignatureNonceUsed)/,
    "CONFLICT",
  ],
  [/^(?:Incorrect\w*Status|OperationFailed\.DistibuteLock)/, "CONFLICT"],
  [/^(?:Forbidden|NoPermission|NotAuthorized|UnauthorizedOperation)/, "PERMISSION"],
  [/Duplicate/, "EXISTS"],
  [/NotFound/, "NOT_FOUND"],
  [/^(?:InternalError|ServiceUnavailable|UnknownError)/, "UNAVAILABLE"],
];

/** The error for an answer with a status of 400 or more to this action ("CreateRouteEntry"). */
export function errorOfAliAnswer(
  action: string,
  json: unknown,
  answer: HttpAnswer,
  wallClockMs: number,
): CloudError {
  const code = textAt(json, "Code");
  // A refused signature comes with all that was signed, the token of the role included.
  const message = textAt(json, "Message").replace(/[\s,;]*server string to sign.*$/is, "");
  const refused = `Alibaba Cloud's VPC API: ${action} was refused: ${shown(`${code || answer.status}: ${message}`)}`;
  const retryAfterMs = retryAfterMsOf(answer, wallClockMs);
  const found = MEANINGS.find(([pattern]) => pattern.test(code))?.[1];
  const meaning = found ?? (answer.status >= 500 ? "UNAVAILABLE" : "REFUSED");
  const permission = `vpc:${action}`;
  switch (meaning) {
    case "PERMISSION":
      return new CloudError(meaning, `${refused}; allow the action ${permission} in a RAM policy`, {
        permission,
      });
    case "CLOCK_SKEW":
      return new CloudError(meaning, `${refused}; ${describeClockSkew(answer, wallClockMs)}`);
    case "LIMIT_REACHED":
      return new CloudError(
        meaning,
        `${refused}; delete routes that nobody needs, request a higher quota of custom routes for the table, or use the vxlan backend`,
      );
    case "CREDENTIALS":
      return new CloudError(meaning, `${refused}; check the access key, or the RAM role of this instance`);
    default:
      return new CloudError(meaning, `${refused}${remedyOf(code)}`, { retryAfterMs });
  }
}

function remedyOf(code: string): string {
  if (/^InvalidRouteTable/.test(code)) return "; check Backend.RouteTableID and its region";
  if (/^InvalidNextHop/.test(code)) return "; the route table must belong to the VPC of this instance";
  if (/^InvalidC(?:idr|IDR)Block$/.test(code))
    return "; Network must not overlap the vSwitches of the VPC, nor 100.64.0.0/10";
  return "";
}
