/** Reading the XML of AWS' query APIs: elements with text or elements in them; attributes and namespaces mean nothing. */

import { parseXml, XmlElement } from "@rgrove/parse-xml";

export type { XmlElement } from "@rgrove/parse-xml";

/** The root element; undefined = not XML. */
export function readXml(text: string): XmlElement | undefined {
  try {
    return parseXml(text).root ?? undefined;
  } catch {
    return undefined;
  }
}

/** The first element at a path of names below an element. */
export function childOf(element: XmlElement | undefined, ...path: readonly string[]): XmlElement | undefined {
  let found = element;
  for (const name of path) found = found === undefined ? undefined : childrenOf(found, name)[0];
  return found;
}

/** The text of the element at a path; undefined = there is none, or it is empty. */
export const textOf = (element: XmlElement | undefined, ...path: readonly string[]): string | undefined =>
  childOf(element, ...path)?.text.trim() || undefined;

/** The `item` elements (EC2's lists) of the element at a path. */
export function itemsOf(element: XmlElement | undefined, ...path: readonly string[]): readonly XmlElement[] {
  const list = childOf(element, ...path);
  return list === undefined ? [] : childrenOf(list, "item");
}

const childrenOf = (element: XmlElement, name: string): XmlElement[] =>
  element.children.filter((child): child is XmlElement => child instanceof XmlElement && child.name === name);
