/**
 * Which handshake messages are handled (wireguard.com/papers/wireguard.pdf, §5.3): those that prove to know this host's public
 * key (mac1) and, under load, to receive packets at their source (mac2, with a cookie). The order is that of the costs: a
 * flood of strangers must cost less per message than receiving it.
 */

import { CookieChecker } from "./cookies.ts";
import { LoadLimit } from "./load-limit.ts";
import { u32 } from "./messages.ts";
import type { WireguardPrimitives } from "./primitives.ts";

export class Admission {
  readonly #checker: CookieChecker;
  readonly #load: LoadLimit;

  constructor(primitives: WireguardPrimitives, ownPublicKey: Uint8Array) {
    this.#checker = new CookieChecker(primitives, ownPublicKey);
    this.#load = new LoadLimit(u32(primitives.randomBytes(4), 0));
  }

  /** `message`: an initiation or a response. `reply` sends a cookie to its source. */
  admits(
    message: Uint8Array,
    source: Uint8Array,
    nowMs: number,
    reply: (message: Uint8Array) => void,
  ): boolean {
    const checker = this.#checker;
    if (!checker.isMac1Genuine(message)) return false;
    if (!this.#load.isUnderLoad(nowMs)) return true;
    if (checker.isMac2Genuine(message, source, nowMs)) return this.#load.isAllowed(source, nowMs);
    if (this.#load.isReplyAllowed(source, nowMs)) reply(checker.createReply(message, source, nowMs));
    return false;
  }
}
