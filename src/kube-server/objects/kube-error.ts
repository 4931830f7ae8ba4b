/**
 * Errors with the API server's wording: a `Status` object with a reason for programs and a message for people
 * (k8s.io/apimachinery/pkg/api/errors).
 */

import { FlannelError } from "../../base/error.ts";
import type { JsonObject } from "./kube-object.ts";

/** The body of an error response (k8s.io/apimachinery/pkg/apis/meta/v1, Status). */
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

/** 400: the request is malformed. */
export const badRequest = (message: string) => new KubeError(400, "BadRequest", message);
/** 401: the credentials are missing or invalid. */
export const unauthorized = () => new KubeError(401, "Unauthorized", "Unauthorized");
/** 404: there is no such object. */
export const notFound = (resource: string, name: string) =>
  new KubeError(404, "NotFound", `${resource} "${name}" not found`, { name, kind: resource });
/** 404: the server has no such resource. */
export const noSuchResource = () =>
  new KubeError(404, "NotFound", "the server could not find the requested resource", {});
/** 405: the resource does not support the method. */
export const methodNotAllowed = () =>
  new KubeError(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
    {},
  );
/** 406: the client accepts no format that the server has. */
export const notAcceptable = () =>
  new KubeError(
    406,
    "NotAcceptable",
    "only the following media types are accepted: application/json, application/json;stream=watch",
  );
/** 409: the object to create exists. */
export const alreadyExists = (resource: string, name: string) =>
  new KubeError(409, "AlreadyExists", `${resource} "${name}" already exists`, { name, kind: resource });
/** 409: a precondition failed, or the object has changed since it was read. */
export const conflict = (
  resource: string,
  name: string,
  why = "the object has been modified; please apply your changes to the latest version and try again",
) =>
  new KubeError(409, "Conflict", `Operation cannot be fulfilled on ${resource} "${name}": ${why}`, {
    name,
    kind: resource,
  });
/** The requested history was compacted; the client must list again. */
export const tooOldVersion = (requested: number, oldest: number) =>
  new KubeError(410, "Expired", `too old resource version: ${requested} (${oldest})`);
/** 413: the body is longer than `limitBytes`. */
export const tooLarge = (limitBytes: number) =>
  new KubeError(413, "RequestEntityTooLarge", `Request entity too large: limit is ${limitBytes}`);
/** 415: the body has none of the accepted media types. */
export const unsupportedMediaType = (accepted: readonly string[]) =>
  new KubeError(
    415,
    "UnsupportedMediaType",
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`,
  );
/** 422: the patch does not fit the object. */
export const unprocessable = (message: string) => new KubeError(422, "Unprocessable", message);
/** A version that the server has not reached, perhaps of another cluster. */
export const tooLargeVersion = (requested: number, current: number) =>
  new KubeError(504, "Timeout", `Too large resource version: ${requested}, current: ${current}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
  });

/** An invalid field: a cause in the details of a Status. */
export interface FieldProblem {
  readonly field: string;
  readonly reason: "FieldValueInvalid" | "FieldValueForbidden" | "FieldValueRequired" | "FieldValueTooLong";
  readonly message: string;
}

/** One or more fields are invalid. */
export function invalid(kind: string, name: string, problems: readonly FieldProblem[]): KubeError {
  const texts = problems.map(({ field, message }) => `${field}: ${message}`);
  const all = texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
  return new KubeError(422, "Invalid", `${kind} "${name}" is invalid: ${all}`, {
    name,
    kind,
    causes: problems.map(({ field, reason, message }) => ({ reason, message, field })),
  });
}
