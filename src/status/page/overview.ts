/** The top of the page: this host, whether it is ready, the numbers of the cluster, and what needs attention. */

import type { Status } from "../api.ts";
import { h } from "./dom.ts";
import { type Answers, type PeerView, summarize } from "./model.ts";
import { formatCount, formatLoss, formatRtt, formatTime, t } from "./view.ts";

const MAX_PROBLEMS = 5;

/** The header of the page, its tiles, and what needs attention. */
export class Overview {
  readonly header: HTMLElement;
  readonly tiles = h("dl", { class: "tiles" });
  readonly problems = h("section", { class: "problems", "aria-label": t("problems") });
  readonly #name = h("h1", {}, "flannel");
  readonly #state = h("span", { class: "pill", role: "status" }, t("loading"));
  readonly #live = h("span", { class: "live", role: "status" });
  readonly #facts = h("dl", { class: "facts" });

  constructor() {
    this.header = h(
      "header",
      {},
      h("div", { class: "title" }, this.#name, this.#state, this.#live),
      this.#facts,
    );
  }

  setConnected(isConnected: boolean): void {
    this.#live.textContent = t(isConnected ? "live" : "reconnecting");
    this.#live.classList.toggle("on", isConnected);
  }

  /** flanneld does not answer. */
  setUnavailable(): void {
    this.#state.textContent = t("unavailable");
    this.#state.className = "pill bad";
  }

  setStatus(status: Status): void {
    const { host, isReady, externalInterface, lease } = status;
    document.title = `${isReady ? "" : "⚠ "}${host} · flannel`;
    this.#name.textContent = host;
    this.#state.textContent = t(isReady ? "ready" : "notReady");
    this.#state.className = `pill ${isReady ? "good" : "bad"}`;
    const subnets = lease?.subnets.join(", ") || t("noLease");
    const expiry =
      lease?.expiresAt === undefined ? "" : ` · ${t("until")} ${formatTime(Date.parse(lease.expiresAt))}`;
    const facts: [string, string | undefined][] = [
      [t("lease"), `${subnets}${expiry}`],
      [t("network"), status.networks.join(", ") || undefined],
      [t("backend"), status.backend],
      [t("containerMtu"), status.mtuBytes?.toString()],
      [
        t("external"),
        externalInterface && `${externalInterface.name} · ${externalInterface.addresses.join(", ")}`,
      ],
      [t("version"), status.version],
    ];
    this.#facts.replaceChildren(
      ...facts.flatMap(([name, value]) =>
        value === undefined ? [] : h("div", {}, h("dt", {}, name), h("dd", {}, value)),
      ),
    );
  }

  setAnswers({ status, peers, rows }: Answers, views: readonly PeerView[]): void {
    this.setStatus(status);
    const bad = views.filter(({ health }) => health === "bad").length;
    const good = views.filter(({ probe }) => probe?.verdict === "reachable").length;
    const isProbing = peers.some(({ probes }) => probes !== undefined && probes.length > 0);
    const { medianMs, worstMs, meanLoss } = summarize(rows[0]?.cells ?? []);
    const tiles: [string, string, string][] = [
      [t("peers"), formatCount(peers.length), ""],
      [t("reachable"), isProbing ? formatCount(good) : "–", isProbing ? "" : t("noProbes")],
      [t("unreachable"), formatCount(bad), bad > 0 ? "bad" : ""],
      [t("medianRtt"), formatRtt(medianMs), ""],
      [t("worstRtt"), formatRtt(worstMs), ""],
      [t("meanLoss"), formatLoss(meanLoss), (meanLoss ?? 0) > 0 ? "warn" : ""],
      [t("repairs"), formatCount(status.kernel.repairs), ""],
    ];
    this.tiles.replaceChildren(
      ...tiles.map(([name, value, look]) =>
        h(
          "div",
          { class: look === "bad" || look === "warn" ? look : "" },
          h("dt", {}, name),
          h("dd", {}, value),
        ),
      ),
    );
    this.#setProblems(status, views);
  }

  #setProblems({ notReadyReasons, notes }: Status, views: readonly PeerView[]): void {
    const lines: [string, string][] = [
      ...notReadyReasons.map((reason): [string, string] => ["bad", reason]),
      ...notes.map((note): [string, string] => ["warn", note]),
      ...views.flatMap(({ key, health, probe, reasons }): [string, string][] =>
        health !== "bad" && health !== "warn"
          ? []
          : [[health, `${key}: ${[verdictOf(probe), ...reasons].filter((text) => text !== "").join(" · ")}`]],
      ),
    ];
    const more = lines.length - MAX_PROBLEMS;
    this.problems.replaceChildren(
      ...lines.slice(0, MAX_PROBLEMS).map(([look, text]) => h("p", { class: look }, text)),
      ...(more > 0 ? [h("p", { class: "more" }, `+ ${formatCount(more)}`)] : []),
    );
    this.problems.hidden = lines.length === 0;
  }
}

/** What probes say, unless all is well. */
const verdictOf = (probe: PeerView["probe"]): string => {
  if (probe === undefined || probe.verdict === "unknown") return "";
  if (probe.verdict !== "reachable") return t(`v:${probe.verdict}`);
  const { lossRatio = 0 } = probe.overlay;
  return lossRatio > 0 ? `${t("loss")} ${formatLoss(lossRatio)}` : "";
};
