/**
 * JSON as Go's encoding/json writes maps: members sorted by name, no blanks, and `<`, `>`, `&`, U+2028 and U+2029 escaped.
 * What one plugin stores and the other reads is so the same to the byte.
 */

const ESCAPED = /[<>&\u2028\u2029]/g;

/** The text of a value as JSON.parse gives it. Members that are undefined are left out. */
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
