/** The formats in which commands print what they found: a table for people, JSON and YAML for programs. */

import { ConfigError } from "../base/error.ts";
import { printableJson } from "../base/printable.ts";
import type { FlagTable } from "./flags.ts";

/** The flag of every command that has these formats. */
export const OUTPUT_FLAGS = {
  o: {
    ...{ kind: "string", value: "format", default: "table" },
    ...{ choices: ["table", "json", "yaml"], help: "table, json or yaml" },
  },
} as const satisfies FlagTable;

/** Text of `value` in `format`; `table` gives the lines for people. Throws ConfigError if there is no such format. */
export async function formatOutput(
  format: string,
  value: unknown,
  table: () => readonly string[],
): Promise<string> {
  switch (format) {
    case "table":
      return table().join("\n");
    case "json":
      return printableJson(JSON.stringify(value, undefined, 2));
    case "yaml": {
      const { stringify } = await import("yaml");
      return stringify(value).trimEnd();
    }
    default:
      throw new ConfigError(`-o: ${JSON.stringify(format)} is not table, json or yaml`);
  }
}
