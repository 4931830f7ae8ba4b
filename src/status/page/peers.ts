/** The table of peers, problems first, with a search. Long tables are drawn in parts. */

import { h, section } from "./dom.ts";
import { changedAt, type Health, type PeerView } from "./model.ts";
import { formatCount, formatLoss, formatRtt, formatTime, t } from "./view.ts";

const FIRST_ROWS = 50;
const COLUMNS = [
  "peer",
  "verdict",
  "subnet",
  "publicIp",
  "backend",
  "route",
  "rtt",
  "loss",
  "largest",
  "change",
] as const;
type Column = Exclude<(typeof COLUMNS)[number], "peer">;
const FURTHER = COLUMNS.filter((word): word is Column => word !== "peer");

/** The section of the page with the table of peers. */
export class Peers {
  readonly element: HTMLElement;
  readonly #rows = h("tbody");
  readonly #count = h("span", { class: "count", role: "status" });
  readonly #more = h("button", { type: "button", class: "more" }, t("showMore"));
  readonly #search = h("input", {
    type: "search",
    placeholder: t("searchHint"),
    "aria-label": t("searchPeers"),
  });
  readonly #onChoose: (key: string) => void;
  #views: readonly PeerView[] = [];
  #changes: ReadonlyMap<string, number> = new Map();
  #chosen = "";
  #limit = FIRST_ROWS;

  constructor(onChoose: (key: string) => void) {
    this.#onChoose = onChoose;
    this.#search.addEventListener("input", () => {
      this.#limit = FIRST_ROWS;
      this.#redraw();
    });
    this.#more.addEventListener("click", () => {
      this.#limit *= 4;
      this.#redraw();
    });
    const table = h(
      "table",
      {},
      h("caption", { class: "vh" }, t("peers")),
      h("thead", {}, h("tr", {}, ...COLUMNS.map((word) => h("th", { scope: "col", class: word }, t(word))))),
      this.#rows,
    );
    const scroll = h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("peers") }, table);
    this.element = section("peers", t("peers"), scroll, this.#more);
    this.element.id = "peers";
    this.element.querySelector(".head")!.append(this.#count, this.#search);
  }

  draw(views: readonly PeerView[], changes: ReadonlyMap<string, number>, chosen: string): void {
    this.#views = views;
    this.#changes = changes;
    this.#chosen = chosen;
    this.#redraw();
  }

  #redraw(): void {
    const wanted = this.#search.value.trim().toLowerCase();
    const found =
      wanted === "" ? this.#views : this.#views.filter(({ haystack }) => haystack.includes(wanted));
    const focused = this.#rows.querySelector("button:focus")?.textContent;
    const nothing = t(this.#views.length === 0 ? "noPeers" : "noMatch");
    this.#rows.replaceChildren(
      ...found.slice(0, this.#limit).map((view) => this.#rowOf(view)),
      ...(found.length === 0
        ? [h("tr", {}, h("td", { colspan: COLUMNS.length, class: "empty" }, nothing))]
        : []),
    );
    if (focused !== undefined)
      [...this.#rows.querySelectorAll("button")].find(({ textContent }) => textContent === focused)?.focus();
    this.#more.hidden = found.length <= this.#limit;
    this.#count.textContent =
      found.length === this.#views.length
        ? formatCount(found.length)
        : `${formatCount(found.length)} ${t("of")} ${formatCount(this.#views.length)}`;
  }

  #rowOf(view: PeerView): HTMLTableRowElement {
    const { key, peer, routes, probe, reasons } = view;
    const choose = h("button", { type: "button", class: "link" }, key);
    choose.addEventListener("click", () => this.#onChoose(key));
    const at = changedAt(view, this.#changes);
    const time =
      at === undefined
        ? "–"
        : h(
            "time",
            { datetime: new Date(at).toISOString(), title: new Date(at).toLocaleString() },
            formatTime(at),
          );
    const cells: Record<Column, Node | string> = {
      verdict: verdict(view.health, probe === undefined ? t("noProbes") : t(`v:${probe.verdict}`), reasons),
      subnet: peer.subnets.join(", "),
      publicIp: peer.publicIps.join(", ") || "–",
      backend: peer.backend || "–",
      route:
        routes.map(({ state, device }) => `${t(`s:${state}`)}${device ? ` · ${device}` : ""}`).join(", ") ||
        "–",
      rtt: formatRtt(probe?.overlay.rttMs?.mean),
      loss: formatLoss(probe?.overlay.lossRatio),
      largest: probe?.overlay.largestPacketBytes?.toString() ?? "–",
      change: time,
    };
    return h(
      "tr",
      { class: key === this.#chosen ? "chosen" : undefined },
      h("th", { scope: "row", "data-label": t("peer") }, choose),
      ...FURTHER.map((word) => h("td", { class: word, "data-label": t(word) }, cells[word])),
    );
  }
}

function verdict(health: Health, text: string, reasons: readonly string[]): HTMLElement {
  const state = h("span", { class: `dot ${health}` }, text);
  return reasons.length === 0 ? state : h("div", {}, state, h("p", { class: "reason" }, reasons.join(" · ")));
}
