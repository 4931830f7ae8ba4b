/** The path of a packet from containers of this host to those of a peer, drawn object by object. */

import type { PathReport } from "../api.ts";
import { h, section } from "./dom.ts";
import type { PeerView } from "./model.ts";
import { formatLoss, formatRtt, t } from "./view.ts";

const MAX_OPTIONS = 200;

/** The section of the page with the path of a packet. */
export class Path {
  readonly element: HTMLElement;
  readonly #ways = h("div", { class: "ways" });
  readonly #input = h("input", {
    list: "peer-keys",
    "aria-label": t("choosePeer"),
    placeholder: t("choosePeer"),
  });
  readonly #options = h("datalist", { id: "peer-keys" });

  constructor(onChoose: (key: string) => void) {
    this.#input.addEventListener("change", () => {
      if (this.#input.value.trim() !== "") onChoose(this.#input.value.trim());
    });
    this.element = section("path", t("path"), this.#ways, this.#options);
    this.element.querySelector(".head")!.append(h("label", {}, `${t("choosePeer")} `, this.#input));
  }

  setPeers(views: readonly PeerView[]): void {
    const wanted = views.slice(0, MAX_OPTIONS).map(({ key }) => key);
    if (
      wanted.join("\n") === [...this.#options.children].map((each) => each.getAttribute("value")).join("\n")
    )
      return;
    this.#options.replaceChildren(...wanted.map((value) => h("option", { value })));
  }

  draw(key: string, report: PathReport | undefined, view: PeerView | undefined): void {
    if (document.activeElement !== this.#input) this.#input.value = key;
    this.#ways.replaceChildren(
      ...(report === undefined
        ? [h("p", { class: "empty" }, t(key === "" ? "noPeers" : "pathGone"))]
        : report.ways.map((way) => drawWay(report, way, view))),
    );
  }
}

function drawWay(
  report: PathReport,
  way: PathReport["ways"][number],
  view: PeerView | undefined,
): HTMLElement {
  const { externalInterface } = report;
  const probe = view?.peer.probes?.find(({ family }) => (family === "ipv6") === way.to.includes(":"));
  const isUnderlayUp = probe?.underlay.state === "up";
  const hop = (look: string, kind: string, what: string, note?: string): HTMLElement =>
    h("li", { class: look }, h("b", {}, kind), h("span", {}, what), note ? h("em", {}, note) : undefined);
  return h(
    "ol",
    { class: "hops" },
    hop("end", t("pathFrom"), way.from ?? t("noLease")),
    ...way.objects.map(({ kind, what, state, reason }) =>
      hop(
        state === "programmed" ? "good" : state === "failed" ? "bad" : "warn",
        kind,
        // The kind is not repeated.
        what.startsWith(`${kind} `) ? what.slice(kind.length + 1) : what,
        state === "programmed" ? undefined : [t(`s:${state}`), reason].filter(Boolean).join(": "),
      ),
    ),
    hop(
      "good",
      t("external"),
      `${externalInterface.name} · ${externalInterface.addresses.join(", ")} · MTU ${externalInterface.mtuBytes}`,
    ),
    hop(
      probe === undefined || probe.underlay.state === "unknown"
        ? "unknown"
        : isUnderlayUp
          ? "good"
          : probe.underlay.state === "filtered"
            ? "warn"
            : "bad",
      t("underlayNet"),
      probe === undefined
        ? t("noProbes")
        : `RTT ${formatRtt(probe.underlay.rttMs?.mean)} · ${t("loss")} ${formatLoss(probe.underlay.lossRatio)}`,
    ),
    hop(way.publicIp === "" ? "bad" : "end", t("peerHost"), way.publicIp || "–", report.problem),
    hop(
      probe === undefined || probe.verdict === "unknown"
        ? "unknown"
        : probe.verdict === "reachable"
          ? "good"
          : "bad",
      t("pathTo"),
      way.to,
      probe === undefined || probe.verdict === "reachable"
        ? undefined
        : [t(`v:${probe.verdict}`), probe.advice].filter(Boolean).join(": "),
    ),
  );
}
