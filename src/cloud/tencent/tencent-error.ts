/**
 * What the error codes of Tencent Cloud's VPC API mean; its answers have status 200 also then.
 * https://www.tencentcloud.com/document/product/215/38308 (common), https://www.tencentcloud.com/document/product/215/16724 (CreateRoutes)
 */

import { shown, textAt } from "../answer-json.ts";
import { describeClockSkew } from "../clock-skew.ts";
import { CloudError, type CloudErrorCode } from "../cloud.ts";
import { type HttpAnswer, retryAfterMsOf } from "../http.ts";

/** The first that matches the code counts. Codes have families ("RequestLimitExceeded.UinLimitExceeded"). */
const MEANINGS: readonly (readonly [RegExp, CloudErrorCode])[] = [
  [/^RequestLimitExceeded/, "RATE_LIMITED"],
  [/^AuthFailure\.SignatureExpire/, "CLOCK_SKEW"],
  [/^(?:AuthFailure\.)?UnauthorizedOperation/, "PERMISSION"],
  [/^AuthFailure/, "CREDENTIALS"],
  [/LimitExceeded/, "LIMIT_REACHED"],
  [/\.Duplicate/, "EXISTS"],
  [/^UnsupportedOperation\.Ecmp|^MutexOperation|^ResourceInUse/, "CONFLICT"],
  [/NotFound/, "NOT_FOUND"],
  [/^Internal/, "UNAVAILABLE"],
];

/** The error of an answer to this action ("CreateRoutes"); undefined = it is none. */
export function errorOfTencentAnswer(
  action: string,
  json: unknown,
  answer: HttpAnswer,
  wallClockMs: number,
): CloudError | undefined {
  const code = textAt(json, "Response", "Error", "Code");
  if (code === "" && answer.status < 400) return undefined;
  const message = textAt(json, "Response", "Error", "Message");
  const refused = `Tencent Cloud's VPC API: ${action} was refused: ${shown(`${code || answer.status}: ${message}`)}`;
  const retryAfterMs = retryAfterMsOf(answer, wallClockMs);
  const found = MEANINGS.find(([pattern]) => pattern.test(code))?.[1];
  const meaning = found ?? (answer.status >= 500 ? "UNAVAILABLE" : "REFUSED");
  const permission = `vpc:${action}`;
  switch (meaning) {
    case "PERMISSION":
      return new CloudError(meaning, `${refused}; allow the action ${permission} in a CAM policy`, {
        permission,
      });
    case "CLOCK_SKEW":
      return new CloudError(meaning, `${refused}; ${describeClockSkew(answer, wallClockMs)}`);
    case "LIMIT_REACHED":
      return new CloudError(
        meaning,
        `${refused}; delete routes that nobody needs, request a higher quota of routes for the table, or use the vxlan backend`,
      );
    case "CREDENTIALS":
      return new CloudError(meaning, `${refused}; check the access key, or the CAM role of this instance`);
    default:
      return new CloudError(meaning, `${refused}${remedyOf(code)}`, { retryAfterMs });
  }
}

function remedyOf(code: string): string {
  if (code.startsWith("UnsupportedOperation.Ecmp"))
    return "; another kind of route leads to the same destination: delete it, or choose another Network";
  if (/VpcCidrConflict|ConflictWithDockerRoute/.test(code))
    return "; Network must not overlap the address ranges of the VPC";
  return "";
}
