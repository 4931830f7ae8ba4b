/** What the ipsec backend has on this host: charon, the provider of its connections, and that of the kernel's policies. */

import { dirname } from "node:path";
import type { Logger } from "../base/logger.ts";
import { systemTimers } from "../base/timers.ts";
import { Charon, VICI_SOCKET } from "../ipsec/charon.ts";
import { ConnectionProvider } from "../ipsec/connection-provider.ts";
import { PolicyProvider } from "../ipsec/policy-provider.ts";
import { openXfrmNetlink } from "../linux/netlink-socket.ts";
import { openXfrmNotifications } from "../linux/notifications.ts";

export interface IpsecProviders extends Disposable {
  readonly policies: PolicyProvider;
  readonly connections: ConnectionProvider;
}

export interface IpsecProviderOptions {
  /** charon's. */
  readonly socketPath: string;
  /** The preshared key with a fingerprint; undefined = unknown. */
  readonly secretOf: (fingerprint: string) => string | undefined;
  readonly logger: Logger;
}

/** Starts and opens nothing before it is needed. Disposing ends a charon that was started. */
export function createIpsecProviders({ socketPath, secretOf, logger }: IpsecProviderOptions): IpsecProviders {
  const charon = new Charon({
    ...{ socketPath, logger, timers: systemTimers },
    ...(socketPath === VICI_SOCKET
      ? { directory: "/run/flannel/charon" }
      : { directory: dirname(socketPath), ownsRun: true }),
  });
  const policies = new PolicyProvider({ open: openXfrmNetlink, openNotifications: openXfrmNotifications });
  const connections = new ConnectionProvider({
    removeAssociations: (local, remote) => policies.removeAssociations(local, remote),
    ...{ charon, secretOf, logger, timers: systemTimers },
  });
  return {
    policies,
    connections,
    [Symbol.dispose]() {
      policies[Symbol.dispose]();
      charon[Symbol.dispose]();
    },
  };
}
