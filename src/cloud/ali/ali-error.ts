/**
 * What the error codes of Alibaba Cloud's VPC API mean.
 * https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-errorcodes
 * https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-createrouteentry
 */

import { textAt } from "../answer-json.ts";
import { type CodeMeanings, type RefusalWords, refusalError } from "../api-refusal.ts";
import type { CloudError } from "../cloud.ts";
import type { HttpAnswer } from "../http.ts";

/** The first that matches the code counts. Codes have families ("Throttling.User"), and their spelling varies. */
const MEANINGS: CodeMeanings = [
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

const WORDS: RefusalWords = {
  ...{ api: "Alibaba Cloud's VPC API", access: "RAM", quota: "custom routes" },
  ...{ meanings: MEANINGS, remedyOf },
};

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
  return refusalError(WORDS, { action, code, message, answer }, wallClockMs);
}

function remedyOf(code: string): string {
  if (/^InvalidRouteTable/.test(code)) return "; check Backend.RouteTableID and its region";
  if (/^InvalidNextHop/.test(code)) return "; the route table must belong to the VPC of this instance";
  if (/^InvalidC(?:idr|IDR)Block$/.test(code))
    return "; Network must not overlap the vSwitches of the VPC, nor 100.64.0.0/10";
  return "";
}
