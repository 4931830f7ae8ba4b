/**
 * JSON as Go's encoding/json writes maps: members sorted by name, no blanks, and `<`, `>`, `&`, U+2028 and U+2029 escaped.
 * Stored configs are byte for byte those of Go's plugin.
 */

const ESCAPED = /[<>&\u2028\u2029]/g;

/** The JSON text of a value of JSON.parse. Members that are undefined are omitted. */
export function formatGoJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(formatGoJson).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${members.map(([name, member]) => `${formatGoJson(name)}:${formatGoJson(member)}`).join(",")}}`;
  }
  return JSON.stringify(value).replace(
    ESCAPED,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
