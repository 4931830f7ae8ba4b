/** The latest events, the newest first. */

import type { StatusEvent } from "../api.ts";
import { h, section } from "./dom.ts";
import { formatTime, t } from "./view.ts";

const MAX_SHOWN = 100;
const TYPES: readonly StatusEvent["type"][] = ["probe", "peer", "lease", "drift", "readiness"];

/** The section of the page with the events. */
export class Events {
  readonly element: HTMLElement;
  readonly #list = h("ol");
  readonly #type = h("select", { "aria-label": t("eventType") }, h("option", { value: "" }, t("allEvents")));
  readonly #events: StatusEvent[];

  /** `events`: all that are kept, oldest first; shared with the code that records them. */
  constructor(events: StatusEvent[]) {
    this.#events = events;
    for (const type of TYPES) this.#type.append(h("option", { value: type }, t(`e:${type}`)));
    this.#type.addEventListener("change", () => this.#redraw());
    this.element = section(
      "events",
      t("events"),
      h("div", { class: "log", role: "log", "aria-label": t("events"), tabindex: 0 }, this.#list),
    );
    this.element.querySelector(".head")!.append(this.#type);
    this.#redraw();
  }

  /** Shows events that were added to the end of the list. */
  add(added: readonly StatusEvent[]): void {
    const items = added
      .filter((event) => this.#isWanted(event))
      .slice(-MAX_SHOWN)
      .map(itemOf)
      .reverse();
    if (items.length === 0) return;
    this.#list.querySelector(".empty")?.remove();
    this.#list.prepend(...items);
    while (this.#list.childElementCount > MAX_SHOWN) this.#list.lastElementChild!.remove();
  }

  noteGap(): void {
    this.#list.prepend(h("li", { class: "gap" }, t("gap")));
  }

  #redraw(): void {
    const items = this.#events
      .filter((event) => this.#isWanted(event))
      .slice(-MAX_SHOWN)
      .map(itemOf)
      .reverse();
    this.#list.replaceChildren(...(items.length > 0 ? items : [h("li", { class: "empty" }, t("noEvents"))]));
  }

  #isWanted({ type }: StatusEvent): boolean {
    return this.#type.value === "" || this.#type.value === type;
  }
}

const itemOf = ({ at, type, message }: StatusEvent): HTMLElement =>
  h(
    "li",
    { class: `e-${type}` },
    h("time", { datetime: at }, formatTime(Date.parse(at))),
    h("b", {}, t(`e:${type}`)),
    h("span", {}, message),
  );
