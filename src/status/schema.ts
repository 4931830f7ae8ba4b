/**
 * Types of the status API as values: a schema gives both the TypeScript type ({@link Infer}) and its JSON Schema
 * (draft 2020-12, as OpenAPI 3.1 uses it), so that documentation and code cannot differ.
 */

/** A schema of values of type `T`. `T` exists for the compiler only. */
export interface Schema<T> {
  readonly json: JsonSchema;
  /** Whether an object may lack this member. */
  readonly isOptional?: true;
  readonly type?: T;
}

/** The part of JSON Schema that the API uses. */
export interface JsonSchema {
  readonly type: "string" | "integer" | "number" | "boolean" | "array" | "object";
  readonly description: string;
  readonly format?: string;
  readonly enum?: readonly string[];
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | false;
  readonly required?: readonly string[];
}

/** The type of the values of a schema. */
export type Infer<S> = S extends Schema<infer T> ? T : never;

type Fields = Readonly<Record<string, Schema<unknown>>>;
type OptionalNames<F extends Fields> = {
  [N in keyof F]: F[N] extends { readonly isOptional: true } ? N : never;
}[keyof F];
type ObjectOf<F extends Fields> = {
  readonly [N in Exclude<keyof F, OptionalNames<F>>]: Infer<F[N]>;
} & { readonly [N in OptionalNames<F>]?: Infer<F[N]> | undefined };

/** A string. */
export const text = (description: string): Schema<string> => ({ json: { type: "string", description } });

/** RFC 3339, in UTC. */
export const time = (description: string): Schema<string> => ({
  json: { type: "string", format: "date-time", description },
});

/** A whole number. */
export const integer = (description: string): Schema<number> => ({ json: { type: "integer", description } });

/** A number. */
export const number = (description: string): Schema<number> => ({ json: { type: "number", description } });

/** A boolean. */
export const flag = (description: string): Schema<boolean> => ({ json: { type: "boolean", description } });

/** One of these strings. */
export const oneOf = <const V extends string>(values: readonly V[], description: string): Schema<V> => ({
  json: { type: "string", enum: values, description },
});

/** An array of such items. */
export const list = <T>(items: Schema<T>, description: string): Schema<readonly T[]> => ({
  json: { type: "array", items: items.json, description },
});

/** Numbers by names that are not known beforehand. */
export const numbersByName = (description: string): Schema<Readonly<Record<string, number>>> => ({
  json: { type: "object", additionalProperties: { type: "number", description }, description },
});

/** A member that may be missing. */
export const optional = <T>(schema: Schema<T>): Schema<T> & { readonly isOptional: true } => ({
  ...schema,
  isOptional: true,
});

/** An object with exactly these members. */
export const object = <F extends Fields>(description: string, fields: F): Schema<ObjectOf<F>> => ({
  json: {
    type: "object",
    description,
    properties: Object.fromEntries(Object.entries(fields).map(([name, { json }]) => [name, json])),
    required: Object.keys(fields).filter((name) => fields[name]!.isOptional !== true),
    additionalProperties: false,
  },
});
