/**
 * Reads JSON that another host sent as a value of a schema. The other host may be hostile: texts and lists have a limit.
 * It may also be newer: members that the schema does not have are dropped.
 */

import type { JsonSchema, Schema } from "./schema.ts";

const MAX_TEXT_CHARACTERS = 512;
const MAX_ITEMS = 10_000;

/** Undefined if it is no value of the schema. */
export const readAs = <T>(schema: Schema<T>, value: unknown): T | undefined =>
  read(schema.json, value) as T | undefined;

function read(schema: JsonSchema, value: unknown): unknown {
  switch (schema.type) {
    case "string":
      return typeof value === "string" && value.length <= MAX_TEXT_CHARACTERS && isAllowed(schema, value)
        ? value
        : undefined;
    case "boolean":
      return typeof value === "boolean" ? value : undefined;
    case "integer":
      return Number.isSafeInteger(value) ? value : undefined;
    case "number":
      return Number.isFinite(value) ? value : undefined;
    case "array": {
      if (!Array.isArray(value) || value.length > MAX_ITEMS) return undefined;
      const items = value.map((item) => read(schema.items!, item));
      return items.includes(undefined) ? undefined : items;
    }
    case "object":
      return readObject(schema, value);
  }
}

function readObject({ properties = {}, required = [] }: JsonSchema, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const found: [string, unknown][] = [];
  for (const [name, schema] of Object.entries(properties)) {
    if (!Object.hasOwn(value, name)) {
      if (required.includes(name)) return undefined;
      continue;
    }
    const member = read(schema, (value as Record<string, unknown>)[name]);
    if (member === undefined) return undefined;
    found.push([name, member]);
  }
  return Object.fromEntries(found);
}

const isAllowed = (schema: JsonSchema, value: string): boolean =>
  (schema.enum?.includes(value) ?? true) &&
  (schema.format !== "date-time" || !Number.isNaN(Date.parse(value)));
