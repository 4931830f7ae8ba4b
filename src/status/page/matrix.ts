/** The N×N matrix of round-trip times and loss; above MAX_HOSTS hosts the worst pairs, and a search. */

import type { Cell, MatrixRow } from "../api.ts";
import { h, section } from "./dom.ts";
import { cellHealth, cellsByPeer, type Pair, worstPairs } from "./model.ts";
import { formatLoss, formatMs, formatRtt, rttClass, shortName, t } from "./view.ts";

const MAX_HOSTS = 100;
/** Up to so many hosts cells have their number written in them. */
const MAX_WITH_NUMBERS = 16;
/** Up to so many hosts each row and column has its name written beside it, above that every fifth. */
const MAX_WITH_NAMES = 40;
const MAX_PAIRS = 25;
/** Unknown rows with the same reason are listed once, with so many names. */
const MAX_NAMES = 3;

/** The section of the page with the matrix. */
export class Matrix {
  readonly element: HTMLElement;
  readonly #body = h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("matrix") });
  readonly #detail = h("p", { class: "detail", "aria-live": "polite" });
  readonly #unknown = h("div", { class: "unknown-rows" });
  readonly #search = h("input", {
    type: "search",
    placeholder: t("searchPairs"),
    "aria-label": t("searchPairs"),
  });
  readonly #onChoose: (key: string) => void;
  #rows: readonly MatrixRow[] = [];
  #pairs: readonly Pair[] = [];
  /** Row and column of the cell that Tab reaches. */
  #place = { row: 0, column: 1 };

  constructor(onChoose: (key: string) => void) {
    this.#onChoose = onChoose;
    this.#search.hidden = true;
    this.#search.addEventListener("input", () => this.#drawPairs());
    this.element = section(
      "matrix",
      t("matrix"),
      this.#search,
      this.#body,
      this.#detail,
      legend(),
      this.#unknown,
    );
  }

  draw(rows: readonly MatrixRow[], peers: number): void {
    this.#rows = rows;
    const isLarge = peers >= MAX_HOSTS;
    this.#search.hidden = !isLarge;
    this.element.classList.toggle("large", isLarge);
    if (isLarge) {
      this.#pairs = worstPairs(rows);
      this.#drawPairs();
    } else this.#drawTable();
    this.#drawUnknown();
  }

  #drawTable(): void {
    const rows = this.#rows;
    const hasNumbers = rows.length <= MAX_WITH_NUMBERS;
    const look = hasNumbers ? "numbers" : rows.length <= MAX_WITH_NAMES ? "dense" : "dense sparse";
    const names = namesOf(rows);
    const isFocused = this.#body.querySelector("td:focus") !== null;
    const table = h(
      "table",
      { role: "grid", class: look },
      h("caption", { class: "vh" }, `${t("matrixCaption")}. ${t("matrixHint")}`),
      h(
        "thead",
        {},
        h("tr", {}, h("td"), ...names.map((name) => h("th", { scope: "col" }, h("span", {}, name)))),
      ),
      h(
        "tbody",
        {},
        ...rows.map((row, y) => {
          const cells = cellsByPeer(row);
          return h(
            "tr",
            {},
            h("th", { scope: "row", title: row.key }, h("span", {}, names[y]!)),
            ...rows.map((column, x) => cellElement(y === x ? "own" : cells.get(column.key), row, hasNumbers)),
          );
        }),
      ),
    );
    const cellAt = (row: number, column: number) =>
      table.tBodies[0]!.rows[row]?.querySelectorAll("td")[column];
    const place = (row: number, column: number, isMoving: boolean) => {
      const next = cellAt(row, column);
      if (next === undefined) return;
      cellAt(this.#place.row, this.#place.column)?.setAttribute("tabindex", "-1");
      this.#place = { row, column };
      next.setAttribute("tabindex", "0");
      if (isMoving) next.focus();
    };
    const describe = (row: number, column: number) => {
      const [from, to] = [rows[row], rows[column]];
      if (from === undefined || to === undefined || row === column) return;
      const cell = cellsByPeer(from).get(to.key);
      this.#detail.textContent = `${names[row]} → ${names[column]}: ${cell === undefined ? (from.reason ?? t("unknown")) : describeCell(cell)}`;
    };
    const placeOf = (target: EventTarget | null): [number, number] | undefined => {
      const cell = target instanceof Element ? target.closest<HTMLTableCellElement>("tbody td") : null;
      return cell === null
        ? undefined
        : [(cell.parentNode as HTMLTableRowElement).sectionRowIndex, cell.cellIndex - 1];
    };
    const choose = ([row, column]: [number, number]) => {
      // The path from here: to the host of the column, or of the row in this host's own column.
      const key = rows[column === 0 ? row : column]?.key;
      if (key !== undefined && (column !== 0 || row !== 0)) this.#onChoose(key);
    };
    table.addEventListener("keydown", (event) => {
      const at = placeOf(event.target);
      if (at === undefined) return;
      const [row, column] = at;
      const moves: Record<string, [number, number]> = {
        ArrowUp: [row - 1, column],
        ArrowDown: [row + 1, column],
        ArrowLeft: [row, column - 1],
        ArrowRight: [row, column + 1],
        Home: [row, 0],
        End: [row, rows.length - 1],
      };
      const move = moves[event.key];
      if (move !== undefined) place(...move, true);
      else if (event.key === "Enter" || event.key === " ") choose(at);
      else return;
      event.preventDefault();
    });
    for (const type of ["focusin", "mouseover"])
      table.addEventListener(type, ({ target }) => {
        const at = placeOf(target);
        if (at !== undefined) describe(...at);
      });
    table.addEventListener("click", ({ target }) => {
      const at = placeOf(target);
      if (at === undefined) return;
      place(...at, true);
      choose(at);
    });
    this.#body.removeAttribute("tabindex");
    this.#body.replaceChildren(table);
    place(
      Math.min(this.#place.row, rows.length - 1),
      Math.min(this.#place.column, rows.length - 1),
      isFocused,
    );
  }

  #drawPairs(): void {
    const wanted = this.#search.value.trim().toLowerCase();
    const unique = namesOf(this.#rows);
    const names = new Map(this.#rows.map(({ key }, index) => [key, unique[index]!]));
    const nameOfKey = (key: string) => names.get(key) ?? shortName(key);
    const shown: Pair[] = [];
    for (const pair of this.#pairs) {
      if (shown.length === MAX_PAIRS) break;
      const { from, peer } = pair;
      if (
        wanted === "" ||
        `${from} ${peer} ${nameOfKey(from)} ${nameOfKey(peer)}`.toLowerCase().includes(wanted)
      )
        shown.push(pair);
    }
    this.#body.setAttribute("tabindex", "0");
    this.#detail.textContent = t("worstHint");
    if (shown.length === 0) {
      this.#body.replaceChildren(h("p", { class: "empty" }, t(wanted === "" ? "noProbes" : "noMatch")));
      return;
    }
    this.#body.replaceChildren(
      h(
        "table",
        { class: "pairs" },
        h("caption", { class: "vh" }, t("worstPairs")),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ...(["from", "to", "verdict", "rtt", "loss"] as const).map((word) =>
              h("th", { scope: "col", class: word }, t(word)),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          ...shown.map((pair) =>
            h(
              "tr",
              {},
              h("td", {}, nameOfKey(pair.from)),
              h("td", {}, nameOfKey(pair.peer)),
              h("td", {}, h("span", { class: `dot ${cellHealth(pair)}` }, t(`v:${pair.verdict}`))),
              h("td", { class: "rtt" }, formatRtt(pair.rttMs)),
              h("td", { class: "loss" }, formatLoss(pair.lossRatio)),
            ),
          ),
        ),
      ),
    );
  }

  #drawUnknown(): void {
    const unique = namesOf(this.#rows);
    const keysOf = new Map<string, string[]>();
    for (const [index, row] of this.#rows.entries())
      if (row.reason !== undefined && row.cells.length === 0) {
        const keys = keysOf.get(row.reason) ?? [];
        keys.push(unique[index]!);
        keysOf.set(row.reason, keys);
      }
    this.#unknown.replaceChildren(
      ...(keysOf.size === 0 ? [] : [h("h3", {}, t("rowsUnknown"))]),
      ...[...keysOf].map(([reason, names]) => {
        const more = names.length - MAX_NAMES;
        return h(
          "p",
          {},
          h("b", {}, `${names.slice(0, MAX_NAMES).join(", ")}${more > 0 ? ` + ${more}` : ""}`),
          ` ${reason}`,
        );
      }),
    );
  }
}

function cellElement(cell: Cell | "own" | undefined, row: MatrixRow, hasNumbers: boolean): HTMLElement {
  if (cell === "own") return h("td", { class: "own", tabindex: -1, "aria-label": "–" });
  const health = cell === undefined ? "unknown" : cellHealth(cell);
  const isTimed = health === "good" && cell?.rttMs !== undefined;
  const label =
    cell === undefined
      ? `${t("unknown")}${row.reason === undefined ? "" : `: ${row.reason}`}`
      : describeCell(cell);
  return h(
    "td",
    { class: isTimed ? rttClass(cell.rttMs) : health, tabindex: -1, "aria-label": label },
    hasNumbers ? numberOf(cell, health) : undefined,
  );
}

function numberOf(cell: Cell | undefined, health: string): string {
  if (cell === undefined || health === "unknown") return "?";
  if (health === "bad") return "✕";
  return health === "warn"
    ? formatLoss(cell.lossRatio)
    : cell.rttMs === undefined
      ? "✓"
      : formatMs(cell.rttMs);
}

const describeCell = ({ verdict, rttMs, lossRatio }: Cell): string =>
  `${t(`v:${verdict}`)}, RTT ${formatRtt(rttMs)}, ${t("loss")} ${formatLoss(lossRatio)}`;

/** Names of hosts, where they are known and unique; this host's row is the first. */
function namesOf(rows: readonly MatrixRow[]): string[] {
  const counts = new Map<string, number>();
  for (const { host = "" } of rows) counts.set(host, (counts.get(host) ?? 0) + 1);
  return rows.map(({ key, host }, index) =>
    host !== undefined && counts.get(host) === 1
      ? host
      : shortName(key) || (index === 0 ? t("thisHost") : "?"),
  );
}

function legend(): HTMLElement {
  const items: [string, string][] = [
    ["r0", "≤ 1 ms"],
    ["r1", "≤ 5"],
    ["r2", "≤ 20"],
    ["r3", "≤ 100"],
    ["r4", "> 100"],
    ["warn", t("withLoss")],
    ["bad", t("down")],
    ["unknown", t("unknown")],
  ];
  return h(
    "ul",
    { class: "legend" },
    ...items.map(([look, name]) => h("li", {}, h("i", { class: look }), name)),
  );
}
