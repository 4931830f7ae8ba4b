/**
 * What the error codes of Tencent Cloud's VPC API mean; its answers have status 200 also then.
 * https://www.tencentcloud.com/document/product/215/38308 (common), https://www.tencentcloud.com/document/product/215/16724 (CreateRoutes)
 */

import { textAt } from "../answer-json.ts";
import { type CodeMeanings, type RefusalWords, refusalError } from "../api-refusal.ts";
import type { CloudError } from "../cloud.ts";
import type { HttpAnswer } from "../http.ts";

/** The first that matches the code counts. Codes have families ("RequestLimitExceeded.UinLimitExceeded"). */
const MEANINGS: CodeMeanings = [
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

const WORDS: RefusalWords = {
  ...{ api: "Tencent Cloud's VPC API", access: "CAM", quota: "routes" },
  ...{ meanings: MEANINGS, remedyOf },
};

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
  return refusalError(WORDS, { action, code, message, answer }, wallClockMs);
}

function remedyOf(code: string): string {
  if (code.startsWith("UnsupportedOperation.Ecmp"))
    return "; another kind of route leads to the same destination: delete it, or choose another Network";
  if (/VpcCidrConflict|ConflictWithDockerRoute/.test(code))
    return "; Network must not overlap the address ranges of the VPC";
  return "";
}
