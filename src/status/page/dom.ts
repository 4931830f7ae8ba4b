/** Makes elements. Text is only ever set as text: what peers and datastores name themselves is never parsed as HTML. */

type Child = Node | string | undefined;
type Attributes = Readonly<Record<string, string | number | undefined>>;

/** An element with attributes (undefined = left out) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill<E extends Element>(element: E, attributes: Attributes, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined) element.setAttribute(name, String(value));
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

let sections = 0;

/** A card with a heading, and its name for screen readers. */
export function section(name: string, title: string, ...children: readonly Child[]): HTMLElement {
  const id = `s${++sections}`;
  return h(
    "section",
    { class: `card ${name}`, "aria-labelledby": id },
    h("div", { class: "head" }, h("h2", { id }, title)),
    ...children,
  );
}
