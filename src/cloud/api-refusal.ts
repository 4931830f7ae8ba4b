/** The error for a call that a cloud's VPC API refused with a code of its own: what the code means, and what to do about it. */

import { shown } from "./answer-json.ts";
import { describeClockSkew } from "./clock-skew.ts";
import { CloudError, type CloudErrorCode } from "./cloud.ts";
import { type HttpAnswer, retryAfterMsOf } from "./http.ts";

/** Meanings of codes, by their beginning or family; the first that matches counts. */
export type CodeMeanings = readonly (readonly [RegExp, CloudErrorCode])[];

/** How a cloud words its refusals. */
export interface RefusalWords {
  /** "Alibaba Cloud's VPC API". */
  readonly api: string;
  readonly meanings: CodeMeanings;
  /** The cloud's access management: policies and roles ("RAM"). */
  readonly access: string;
  /** What the quota counts: "custom routes". */
  readonly quota: string;
  /** Begins with "; "; "" = none. For codes whose meaning alone does not say what to do. */
  readonly remedyOf: (code: string) => string;
}

/** What the API said. */
export interface Refusal {
  /** "CreateRouteEntry". */
  readonly action: string;
  /** "" = none: the status decides. */
  readonly code: string;
  readonly message: string;
  readonly answer: HttpAnswer;
}

/** The error, with its remedy. */
export function refusalError(
  { api, meanings, access, quota, remedyOf }: RefusalWords,
  { action, code, message, answer }: Refusal,
  wallClockMs: number,
): CloudError {
  const refused = `${api}: ${action} was refused: ${shown(`${code || answer.status}: ${message}`)}`;
  const found = meanings.find(([pattern]) => pattern.test(code))?.[1];
  const meaning = found ?? (answer.status >= 500 ? "UNAVAILABLE" : "REFUSED");
  const permission = `vpc:${action}`;
  switch (meaning) {
    case "PERMISSION":
      return new CloudError(meaning, `${refused}; allow the action ${permission} in a ${access} policy`, {
        permission,
      });
    case "CLOCK_SKEW":
      return new CloudError(meaning, `${refused}; ${describeClockSkew(answer, wallClockMs)}`);
    case "LIMIT_REACHED":
      return new CloudError(
        meaning,
        `${refused}; delete routes that nobody needs, request a higher quota of ${quota} for the table, or use the vxlan backend`,
      );
    case "CREDENTIALS":
      return new CloudError(
        meaning,
        `${refused}; check the access key, or the ${access} role of this instance`,
      );
    default:
      return new CloudError(meaning, `${refused}${remedyOf(code)}`, {
        retryAfterMs: retryAfterMsOf(answer, wallClockMs),
      });
  }
}
