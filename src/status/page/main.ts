/** The status page: requests everything from flanneld, follows its events, and draws. */

import type { StatusEvent } from "../api.ts";
import { askAll, askPath, askStatus, followEvents } from "./api-client.ts";
import { h } from "./dom.ts";
import { Events } from "./events.ts";
import { Matrix } from "./matrix.ts";
import { type Answers, joinPeers, lastChanges, type PeerView } from "./model.ts";
import { Overview } from "./overview.ts";
import { Path } from "./path.ts";
import { Peers } from "./peers.ts";
import { Timeline } from "./timeline.ts";
import { LANGUAGE, t } from "./view.ts";

/** As many as flanneld keeps. */
const MAX_EVENTS = 1_000;
const POLL_MS = 5_000;
/** Between requests; where answers are large, so many times as long as they took. */
const PAUSE_MS = 50;
const PAUSE_FACTOR = 4;
const MANY_PEERS = 500;

const events: StatusEvent[] = [];
let answers: Answers | undefined;
let views: readonly PeerView[] = [];
let chosen = decodeURIComponent(location.hash.slice(1));
let isRefreshing = false;
let isWanted = false;
let nextRefreshMs = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

document.documentElement.lang = LANGUAGE;
const overview = new Overview();
const matrix = new Matrix(choose);
const path = new Path(choose);
const timeline = new Timeline(events);
const log = new Events(events);
const peers = new Peers(choose);
document
  .getElementById("app")!
  .replaceWith(
    h("a", { class: "skip", href: "#peers" }, t("skip")),
    overview.header,
    h(
      "main",
      {},
      overview.tiles,
      overview.problems,
      h("div", { class: "grid" }, matrix.element, path.element, timeline.element, log.element),
      peers.element,
    ),
  );

/** Shows the path to a peer. */
function choose(key: string): void {
  chosen = key;
  history.replaceState(null, "", `#${encodeURIComponent(key)}`);
  timeline.choose(key);
  drawPeers();
  void drawPath();
}

function drawPeers(): void {
  peers.draw(views, lastChanges(events), chosen);
}

async function drawPath(): Promise<void> {
  const key = chosen;
  const report = key === "" ? undefined : await askPath(key).catch(() => undefined);
  if (key === chosen)
    path.draw(
      key,
      report,
      views.find((view) => view.key === report?.peer),
    );
}

/** Requests everything soon: at once, or when the last answers are old enough. Requests never overlap. */
function refresh(): void {
  isWanted = true;
  if (isRefreshing || timer !== undefined) return;
  timer = setTimeout(run, Math.max(0, nextRefreshMs - performance.now()));
}

async function run(): Promise<void> {
  timer = undefined;
  isRefreshing = true;
  isWanted = false;
  const startedMs = performance.now();
  try {
    answers = await askAll();
    draw(answers);
  } catch {
    overview.setUnavailable();
  } finally {
    isRefreshing = false;
    const nowMs = performance.now();
    const isLarge = views.length > MANY_PEERS;
    nextRefreshMs = nowMs + (isLarge ? Math.min(POLL_MS, (nowMs - startedMs) * PAUSE_FACTOR) : PAUSE_MS);
    if (isWanted) refresh();
  }
}

function draw(now: Answers): void {
  views = joinPeers(now);
  if (chosen === "") chosen = views[0]?.key ?? "";
  overview.setAnswers(now, views);
  matrix.draw(now.rows, now.peers.length);
  path.setPeers(views);
  timeline.choose(chosen);
  timeline.record(now.rows[0]?.cells ?? []);
  drawPeers();
  void drawPath();
}

followEvents({
  onEvent: collect,
  onGap: () => log.noteGap(),
  onState: (isConnected) => {
    overview.setConnected(isConnected);
    if (isConnected) refresh();
  },
});

let arrived: StatusEvent[] = [];

/** Events come in bursts, at first all that are kept: they are drawn together. */
function collect(event: StatusEvent): void {
  if (arrived.push(event) > 1) return;
  setTimeout(drawEvents);
}

function drawEvents(): void {
  const added = arrived;
  arrived = [];
  events.push(...added);
  if (events.length > MAX_EVENTS) events.splice(0, events.length - MAX_EVENTS);
  log.add(added);
  refresh();
}

setInterval(() => {
  if (document.visibilityState === "visible") refresh();
}, POLL_MS);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") refresh();
});
askStatus()
  .then((status) => overview.setStatus(status))
  .catch(() => overview.setUnavailable());
refresh();
