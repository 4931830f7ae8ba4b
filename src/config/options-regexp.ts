/**
 * Regular expressions as Go users write them (RE2 syntax, https://golang.org/s/re2syntax) with JavaScript's engine. What is
 * spelt differently is translated; what would silently mean something else is refused.
 */

const POSIX_CLASSES: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  digit: "0-9",
  lower: "a-z",
  punct: "!-\\/:-@\\[-`{-~",
  space: "\\t\\n\\v\\f\\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};

/** Compiles `text`. Throws SyntaxError with a message for the user. */
export function parseGoRegExp(text: string): RegExp {
  const leading = /^\(\?([ims]+)\)/.exec(text);
  const body = text.slice(leading?.[0].length ?? 0).replace(/\\[\s\S]|\(\?P<|\[:(\w+):\]/g, translate);
  try {
    return new RegExp(body, leading?.[1] ?? "");
  } catch (error) {
    const why = (error as Error).message.replace(/^.*: /s, "");
    throw new SyntaxError(`${JSON.stringify(text)} is not a regular expression: ${why}`, { cause: error });
  }
}

function translate(token: string, posixClass: string | undefined): string {
  if (posixClass !== undefined) {
    const range = POSIX_CLASSES[posixClass];
    if (range === undefined) throw new SyntaxError(`the character class ${token} is unknown`);
    return range;
  }
  switch (token) {
    case "(?P<":
      return "(?<";
    case "\\A":
      return "^";
    case "\\z":
      return "$";
    case "\\C":
    case "\\Q":
    case "\\p":
    case "\\P":
      throw new SyntaxError(`${token} is not supported in regular expressions; write the pattern without it`);
    default:
      return token;
  }
}
