/** Text from others (peers, files, datastores) made safe to show: on a terminal it can neither hide nor command anything. */

/** Control characters, line separators and marks that change the direction of text (Unicode TR9). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g;

/** The text in one line, each unsafe character written as `\n`, `\t`, `\x1b` or `\u202e`. */
export const printable = (text: string): string => text.replace(UNSAFE, escapeCharacter);

/** JSON text with the same characters escaped as JSON does it; the text must come from JSON.stringify. */
export const printableJson = (json: string): string =>
  json.replace(UNSAFE, (character) =>
    character === "\n" ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

function escapeCharacter(character: string): string {
  if (character === "\n") return "\\n";
  if (character === "\t") return "\\t";
  const code = character.charCodeAt(0);
  return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
}
