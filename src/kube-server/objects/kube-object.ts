/** Objects of the Kubernetes API as the server stores them: immutable plain JSON values. */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
/** A JSON object. */
export interface JsonObject {
  readonly [member: string]: Json | undefined;
}

/** metadata of an object (k8s.io/apimachinery/pkg/apis/meta/v1, ObjectMeta), as far as the server reads it. */
export interface KubeMetadata extends JsonObject {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly creationTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly managedFields?: readonly ManagedFields[];
}

/** Which manager wrote which fields last (structured-merge-diff's FieldsV1: `f:` members, `k:` list keys). */
export interface ManagedFields extends JsonObject {
  readonly manager: string;
  readonly operation: "Update";
  readonly apiVersion: string;
  readonly time: string;
  readonly fieldsType: "FieldsV1";
  readonly fieldsV1: JsonObject;
  readonly subresource?: string;
}

/** An element of status.conditions (k8s.io/api/core/v1, NodeCondition). */
export interface KubeCondition extends JsonObject {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

/** An element of status.addresses (k8s.io/api/core/v1, NodeAddress). */
export interface KubeAddress extends JsonObject {
  readonly type: string;
  readonly address: string;
}

/** A node or pod (k8s.io/api/core/v1), as far as the server reads it. */
export interface KubeObject extends JsonObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: KubeMetadata;
  readonly spec?: JsonObject & {
    readonly podCIDR?: string;
    readonly podCIDRs?: readonly string[];
    readonly nodeName?: string;
  };
  readonly status?: JsonObject & {
    readonly conditions?: readonly KubeCondition[];
    readonly addresses?: readonly KubeAddress[];
  };
}

/** Whether a value is an object, not an array or null. */
export const isJsonObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether two values are the same JSON, in any order of members. Parts shared by reference are not compared. */
export function sameJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => sameJson(item, b[index]));
  }
  if (!isJsonObject(a) || !isJsonObject(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key], b[key]))
  );
}

/** A time as the API writes it: RFC 3339, whole seconds. */
export const timestamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;
