/** Round-trip times over the last minutes, with the events below them: an SVG of our own. */

import type { Cell, StatusEvent } from "../api.ts";
import { h, section, svg } from "./dom.ts";
import { summarize } from "./model.ts";
import { formatMs, formatTime, shortName, t } from "./view.ts";

interface Sample {
  readonly atMs: number;
  readonly medianMs: number | undefined;
  readonly worstMs: number | undefined;
  /** Of each peer, or of the chosen one only where there are many. */
  readonly byPeer: ReadonlyMap<string, number | undefined>;
}

/** Minutes to choose from; the first is shown first. */
const WINDOWS = [2, 15, 60];
const MAX_SAMPLES = 2_000;
const MANY_PEERS = 200;
const HEIGHT = 190;
const MARGIN = { left: 40, right: 12, top: 12, bottom: 42 };
const LINES = 4;

/** The section of the page with the plot. */
export class Timeline {
  readonly element: HTMLElement;
  readonly #plot = h("div", { class: "plot" });
  readonly #window = h(
    "select",
    { "aria-label": t("timeline") },
    ...WINDOWS.map((minutes) => h("option", { value: minutes }, `${minutes} ${t("minutes")}`)),
  );
  readonly #legend = h("ul", { class: "legend lines" });
  readonly #samples: Sample[] = [];
  readonly #events: readonly StatusEvent[];
  #chosen = "";

  constructor(events: readonly StatusEvent[]) {
    this.#events = events;
    this.element = section(
      "timeline",
      t("timeline"),
      this.#plot,
      this.#legend,
      h("p", { class: "note" }, t("timelineNote")),
    );
    this.element.querySelector(".head")!.append(this.#window);
    this.#window.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.#plot);
  }

  choose(key: string): void {
    this.#chosen = key;
    this.draw();
  }

  /** Records this host's own row. */
  record(cells: readonly Cell[]): void {
    const { medianMs, worstMs } = summarize(cells);
    const wanted = cells.length > MANY_PEERS ? cells.filter(({ peer }) => peer === this.#chosen) : cells;
    const byPeer = new Map(
      wanted.map(({ peer, verdict, rttMs }) => [peer, verdict === "reachable" ? rttMs : undefined]),
    );
    this.#samples.push({ atMs: Date.now(), medianMs, worstMs, byPeer });
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift();
    this.draw();
  }

  draw(): void {
    const width = this.#plot.clientWidth;
    if (width === 0) return;
    const endMs = Date.now();
    const windowMs = Number(this.#window.value) * 60_000;
    const startMs = endMs - windowMs;
    const samples = this.#samples.filter(({ atMs }) => atMs >= startMs);
    const top = niceCeiling(Math.max(...samples.map(({ worstMs }) => worstMs ?? 0), 1));
    const x = (ms: number): number =>
      MARGIN.left + ((ms - startMs) / windowMs) * (width - MARGIN.left - MARGIN.right);
    const bottom = HEIGHT - MARGIN.bottom;
    const y = (ms: number): number => bottom - (ms / top) * (bottom - MARGIN.top);
    const line = (look: string, pick: (sample: Sample) => number | undefined): SVGElement =>
      svg("path", {
        class: look,
        d: pathOf(samples, (sample) => {
          const value = pick(sample);
          return value === undefined ? undefined : [x(sample.atMs), y(value)];
        }),
      });
    const events = this.#events.filter(({ at }) => Date.parse(at) >= startMs);
    const last = samples.at(-1);
    const label = `${t("timeline")}: ${t("median")} ${last?.medianMs === undefined ? "–" : formatMs(last.medianMs)} ms, ${t("worst")} ${last?.worstMs === undefined ? "–" : formatMs(last.worstMs)} ms, ${events.length} ${t("changes")}`;
    this.#plot.replaceChildren(
      svg(
        "svg",
        { role: "img", "aria-label": label, viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT },
        ...Array.from({ length: LINES + 1 }, (_, index) => {
          const value = (top / LINES) * index;
          return svg(
            "g",
            { class: "grid" },
            svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
            svg(
              "text",
              { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" },
              value === 0 ? "0" : formatMs(value),
            ),
          );
        }),
        ...[0, 1, 2, 3].map((quarter) => {
          const ms = startMs + (windowMs / 3) * quarter;
          const anchor = quarter === 0 ? "start" : quarter === 3 ? "end" : "middle";
          return svg(
            "text",
            { class: "tick", x: x(ms), y: HEIGHT - 6, "text-anchor": anchor },
            formatTime(ms),
          );
        }),
        ...events.map(({ at, type, message }) =>
          svg(
            "rect",
            {
              class: `mark e-${type}`,
              x: x(Date.parse(at)) - 1.5,
              y: bottom + 6,
              width: 3,
              height: 14,
              rx: 1.5,
            },
            svg("title", {}, `${formatTime(Date.parse(at))} ${message}`),
          ),
        ),
        line("worst", ({ worstMs }) => worstMs),
        line("median", ({ medianMs }) => medianMs),
        line("chosen", ({ byPeer }) => byPeer.get(this.#chosen)),
      ),
    );
    this.#legend.replaceChildren(
      h("li", {}, h("i", { class: "median" }), t("median")),
      h("li", {}, h("i", { class: "worst" }), t("worst")),
      ...(this.#chosen === "" ? [] : [h("li", {}, h("i", { class: "chosen" }), shortName(this.#chosen))]),
      h("li", {}, h("i", { class: "mark" }), t("changes")),
    );
  }
}

/** The d of an SVG path through the points; undefined interrupts the line. A lone point is drawn as a dot. */
function pathOf(
  samples: readonly Sample[],
  pointOf: (sample: Sample) => [number, number] | undefined,
): string {
  let path = "";
  let isDrawing = false;
  for (const sample of samples) {
    const point = pointOf(sample);
    if (point !== undefined) {
      const [x, y] = point.map((each) => each.toFixed(1));
      path += isDrawing ? `L${x} ${y}` : `M${x} ${y}h0`;
    }
    isDrawing = point !== undefined;
  }
  return path;
}

/** The next of 1, 2, 4, 10, 20, 40, … */
function niceCeiling(value: number): number {
  const base = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 10].map((step) => step * base).find((step) => step >= value)!;
}
