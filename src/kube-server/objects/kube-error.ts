/**
 * Refusals as the API server words them: a `Status` object with a reason that programs read and a message for people
 * (k8s.io/apimachinery/pkg/api/errors).
 */

import { FlannelError } from "../../base/error.ts";
import type { JsonObject } from "./kube-object.ts";

export interface KubeStatus extends JsonObject {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: JsonObject;
  readonly status: "Failure";
  readonly message: string;
  readonly reason?: string;
  readonly details?: JsonObject;
  readonly code: number;
}

/** A refused request. `code` is the Status's reason, `status` the object itself. */
export class KubeError extends FlannelError {
  readonly status: KubeStatus;
  constructor(
    code: number,
    reason: string,
    message: string,
    details?: JsonObject,
    metadata: JsonObject = {},
  ) {
    super(reason, message);
    this.status = {
      kind: "Status",
      apiVersion: "v1",
      metadata,
      status: "Failure",
      message,
      reason,
      ...(details && { details }),
      code,
    };
  }
}

export const badRequest = (message: string) => new KubeError(400, "BadRequest", message);
export const unauthorized = () => new KubeError(401, "Unauthorized", "Unauthorized");
export const notFound = (resource: string, name: string) =>
  new KubeError(404, "NotFound", `${resource} "${name}" not found`, { name, kind: resource });
export const noSuchResource = () =>
  new KubeError(404, "NotFound", "the server could not find the requested resource", {});
export const methodNotAllowed = () =>
  new KubeError(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
    {},
  );
export const notAcceptable = () =>
  new KubeError(
    406,
    "NotAcceptable",
    "only the following media types are accepted: application/json, application/json;stream=watch",
  );
export const alreadyExists = (resource: string, name: string) =>
  new KubeError(409, "AlreadyExists", `${resource} "${name}" already exists`, { name, kind: resource });
export const conflict = (
  resource: string,
  name: string,
  why = "the object has been modified; please apply your changes to the latest version and try again",
) =>
  new KubeError(409, "Conflict", `Operation cannot be fulfilled on ${resource} "${name}": ${why}`, {
    name,
    kind: resource,
  });
/** The history asked for is gone: list again. */
export const tooOldVersion = (asked: number, oldest: number) =>
  new KubeError(410, "Expired", `too old resource version: ${asked} (${oldest})`);
export const tooLarge = (limitBytes: number) =>
  new KubeError(413, "RequestEntityTooLarge", `Request entity too large: limit is ${limitBytes}`);
export const unsupportedMediaType = (accepted: readonly string[]) =>
  new KubeError(
    415,
    "UnsupportedMediaType",
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`,
  );
export const unprocessable = (message: string) => new KubeError(422, "Unprocessable", message);
/** A version from the future, or from another cluster. */
export const tooLargeVersion = (asked: number, current: number) =>
  new KubeError(504, "Timeout", `Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
  });

export interface FieldProblem {
  readonly field: string;
  readonly reason: "FieldValueInvalid" | "FieldValueForbidden" | "FieldValueRequired" | "FieldValueTooLong";
  readonly message: string;
}

/** One or more fields may not be so. */
export function invalid(kind: string, name: string, problems: readonly FieldProblem[]): KubeError {
  const texts = problems.map(({ field, message }) => `${field}: ${message}`);
  const all = texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
  return new KubeError(422, "Invalid", `${kind} "${name}" is invalid: ${all}`, {
    name,
    kind,
    causes: problems.map(({ field, reason, message }) => ({ reason, message, field })),
  });
}
