/** Writing XML as AWS' query APIs answer it. */

/** A child: text, or elements; undefined = left out. */
export type XmlContent = string | readonly string[] | undefined;

/** An element with text, or with the given elements in it; "" if there is no content. */
export function element(name: string, content: XmlContent, attributes = ""): string {
  if (content === undefined) return "";
  const inner = typeof content === "string" ? escapeText(content) : content.join("");
  return `<${name}${attributes}>${inner}</${name}>`;
}

/** EC2's list: an `item` for each value. */
export const list = (name: string, items: readonly (readonly string[])[]): string =>
  element(
    name,
    items.map((item) => element("item", item)),
  );

const escapeText = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
