/**
 * What the errors of the Compute Engine API mean.
 * https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-http-errors, and the field `error` of
 * https://cloud.google.com/compute/docs/reference/rest/v1/globalOperations
 */

import { objectsAt, shown, textAt } from "../answer-json.ts";
import { CloudError, type CloudErrorCode } from "../cloud.ts";

/** A call, for messages: its method's name in the API and the permission that it needs. */
export interface GceCall {
  /** "routes.insert". */
  readonly name: string;
  /** "compute.routes.create". */
  readonly permission: string;
}

/** `error.errors[].reason` of what is neither the status alone nor a permission. */
const REASONS: Readonly<Record<string, CloudErrorCode>> = {
  rateLimitExceeded: "RATE_LIMITED",
  userRateLimitExceeded: "RATE_LIMITED",
  quotaExceeded: "LIMIT_REACHED",
  alreadyExists: "EXISTS",
  resourceNotReady: "CONFLICT",
  resourceInUseByAnotherResource: "CONFLICT",
  accessNotConfigured: "REFUSED",
};

const STATUSES: Readonly<Record<number, CloudErrorCode>> = {
  401: "CREDENTIALS",
  403: "PERMISSION",
  404: "NOT_FOUND",
  409: "CONFLICT",
  429: "RATE_LIMITED",
};

/** `error.errors[].code` of an operation. */
const OPERATION_CODES: Readonly<Record<string, CloudErrorCode>> = {
  QUOTA_EXCEEDED: "LIMIT_REACHED",
  RATE_LIMIT_EXCEEDED: "RATE_LIMITED",
  RESOURCE_ALREADY_EXISTS: "EXISTS",
  RESOURCE_NOT_FOUND: "NOT_FOUND",
  RESOURCE_NOT_READY: "CONFLICT",
  RESOURCE_OPERATION_RATE_EXCEEDED: "RATE_LIMITED",
  PERMISSIONS_ERROR: "PERMISSION",
  INTERNAL_ERROR: "UNAVAILABLE",
  SERVICE_UNAVAILABLE: "UNAVAILABLE",
};

/** The error for an answer with a status of 400 or more. `instance` is for the remedies. */
export function errorOfAnswer(
  { name, permission }: GceCall,
  { status, json, retryAfterMs }: { status: number; json: unknown; retryAfterMs: number | undefined },
  instance: string,
): CloudError {
  const reason = textAt(objectsAt(json, "error", "errors")[0], "reason");
  const message = textAt(json, "error", "message");
  const details = objectsAt(json, "error", "details").map((detail) => textAt(detail, "reason"));
  const refused = `Compute Engine API: ${name} was refused: ${shown(message) || `status ${status}`}`;
  if (status >= 500) return new CloudError("UNAVAILABLE", refused, { retryAfterMs });
  if (details.includes("ACCESS_TOKEN_SCOPE_INSUFFICIENT") || reason === "insufficientPermissions") {
    return new CloudError("PERMISSION", `${refused}; ${scopeRemedy(instance)}`, {
      permission: "scope compute-rw",
    });
  }
  const code = REASONS[reason] ?? STATUSES[status] ?? "REFUSED";
  if (code === "PERMISSION") return permissionError(refused, message, permission);
  if (code === "LIMIT_REACHED") return new CloudError(code, `${refused}; ${QUOTA_REMEDY}`);
  const remedy =
    reason === "accessNotConfigured" ? "; enable it: gcloud services enable compute.googleapis.com" : "";
  return new CloudError(code, refused + remedy, { retryAfterMs });
}

/** The error of an operation that ended with one; undefined = it succeeded. */
export function errorOfOperation({ name, permission }: GceCall, operation: unknown): CloudError | undefined {
  const errors = objectsAt(operation, "error", "errors");
  const first = errors[0];
  if (first === undefined) return undefined;
  const code = textAt(first, "code");
  const message = textAt(first, "message");
  const failed = `Compute Engine API: the operation of ${name} failed: ${shown(`${code}: ${message}`)}`;
  const meaning = OPERATION_CODES[code] ?? "REFUSED";
  if (meaning === "PERMISSION") return permissionError(failed, message, permission);
  return new CloudError(meaning, meaning === "LIMIT_REACHED" ? `${failed}; ${QUOTA_REMEDY}` : failed);
}

const QUOTA_REMEDY =
  "request a higher quota for ROUTES (static routes per VPC network), delete routes that nobody needs, or use the vxlan backend";

/** How to give tokens of an instance the scope that route calls need. */
export const scopeRemedy = (instance: string): string =>
  `tokens of this instance lack the access scope; stop the instance, then: gcloud compute instances set-service-account ${instance} --scopes compute-rw`;

/** The API names the permission that it misses; it may be another one than the call's own (compute.networks.updatePolicy). */
function permissionError(text: string, message: string, permission: string): CloudError {
  const named = /'(compute\.[A-Za-z]+\.[A-Za-z]+)'/.exec(message)?.[1] ?? permission;
  return new CloudError("PERMISSION", `${text}; grant the instance's service account ${named}`, {
    permission: named,
  });
}
