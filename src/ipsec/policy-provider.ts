/**
 * The provider of IPsec policies, over netlink (linux/xfrm.h). Ours have reqid 11, as Go flannel's, and lead into an own
 * network; all others are foreign and stay.
 */

import { FlannelError, hasCode } from "../base/error.ts";
import type { NetlinkConnection } from "../netlink/connection.ts";
import type { NetlinkRequest } from "../netlink/message.ts";
import { splitMessages } from "../netlink/message.ts";
import type { NotificationSource } from "../netlink/monitor.ts";
import {
  decodeXfrmPolicy,
  deleteXfrmPolicy,
  getXfrmPolicies,
  newXfrmPolicy,
  updateXfrmPolicy,
  type XfrmPolicy,
} from "../netlink/xfrm.ts";
import { decodeXfrmState, deleteXfrmState, getXfrmStates } from "../netlink/xfrm-state.ts";
import type { StateKind, StateObject, StateOperation, XfrmPolicyObject } from "../state/objects.ts";
import { isWithin, type Ownership } from "../state/operation.ts";
import type { Notice, Provider } from "../state/provider.ts";

/** Go flannel's number, which its leases' hosts have in common with ours. */
export const REQID = 11;

/** How the provider reaches the kernel. */
export interface PolicyProviderOptions {
  /** Opens a connection to NETLINK_XFRM. Throws SyscallError EPROTONOSUPPORT on a kernel without it. */
  readonly open: () => NetlinkConnection;
  /** Subscribes to changes of policies. Throws SyscallError. */
  readonly openNotifications: () => NotificationSource;
}

/** The provider of the kernel's IPsec policies. Its connection is opened when it is first needed. */
export class PolicyProvider implements Provider, Disposable {
  readonly name = "the kernel's IPsec";
  readonly kinds: ReadonlySet<StateKind> = new Set(["xfrm-policy"]);
  readonly #options: PolicyProviderOptions;
  #connection: NetlinkConnection | undefined;

  constructor(options: PolicyProviderOptions) {
    this.#options = options;
  }

  async observe({ networks }: Ownership): Promise<StateObject[]> {
    const connection = this.#connect();
    if (connection === undefined) return [];
    return connection
      .dump(getXfrmPolicies())
      .map(decodeXfrmPolicy)
      .filter((policy) => policy !== undefined)
      .filter(({ reqid, source, destination }) => {
        return reqid === REQID && isWithin(source, networks) && isWithin(destination, networks);
      })
      .map(({ reqid: _, ...policy }) => ({ kind: "xfrm-policy", ...policy }));
  }

  async apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    const connection = this.#connect();
    if (connection !== undefined) return connection.batch(operations.map(requestFor));
    const error = new FlannelError(
      "EOPNOTSUPP",
      "this kernel has no IPsec (CONFIG_XFRM_USER): load the module xfrm_user",
    );
    return operations.map(() => error);
  }

  /**
   * Removes the security associations between two hosts that serve flannel's policies: a charon that was killed leaves them
   * in the kernel.
   */
  removeAssociations(local: string, remote: string): void {
    const connection = this.#connect();
    if (connection === undefined) return;
    const stale = connection
      .dump(getXfrmStates())
      .map(decodeXfrmState)
      .filter(({ reqid, spi }) => reqid === REQID && spi !== 0)
      .filter(
        ({ source, destination }) =>
          (source === local && destination === remote) || (source === remote && destination === local),
      );
    if (stale.length > 0) connection.batch(stale.map(deleteXfrmState));
  }

  async *watch(_ownership: () => Ownership, signal: AbortSignal): AsyncGenerator<Notice> {
    // Where the kernel has no IPsec there is nothing to follow until the next resync.
    if (this.#connect() === undefined) return void (await once(signal));
    using source = this.#options.openNotifications();
    const close = () => source[Symbol.dispose]();
    signal.addEventListener("abort", close, { once: true });
    try {
      for (;;) {
        const received = await source.next();
        if (received === undefined) return;
        const isForeign = received.datagrams
          .flatMap(splitMessages)
          .some((message) => message.portId !== this.#connection?.portId);
        if (received.overrun) yield "overrun";
        // What it was about does not matter: policies are observed again, and nothing else.
        else if (isForeign) yield [{ action: "set", object: SOME_POLICY }];
      }
    } finally {
      signal.removeEventListener("abort", close);
    }
  }

  [Symbol.dispose](): void {
    this.#connection?.close();
  }

  /** Undefined = this kernel has no IPsec. */
  #connect(): NetlinkConnection | undefined {
    try {
      this.#connection ??= this.#options.open();
      return this.#connection;
    } catch (error) {
      if (hasCode(error, "EPROTONOSUPPORT")) return undefined;
      throw error;
    }
  }
}

/** Is in no desired state. */
const SOME_POLICY: XfrmPolicyObject = {
  ...{ kind: "xfrm-policy", direction: "out", source: "0.0.0.0/32", destination: "0.0.0.0/32" },
  ...{ tunnelSource: "0.0.0.0", tunnelDestination: "0.0.0.0" },
};

/** Resolves when aborted. */
const once = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) =>
    signal.aborted ? resolve() : signal.addEventListener("abort", () => resolve(), { once: true }),
  );

function requestFor({ action, object }: StateOperation): NetlinkRequest {
  const { kind: _, ...policy } = object as XfrmPolicyObject;
  const wanted: XfrmPolicy = { ...policy, reqid: REQID };
  if (action === "remove") return deleteXfrmPolicy(wanted);
  return action === "replace" ? updateXfrmPolicy(wanted) : newXfrmPolicy(wanted);
}
