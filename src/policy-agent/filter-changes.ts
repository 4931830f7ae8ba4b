/** Foreign changes of the policy table, as nftables notifies them: who made them, and that the table has to be checked. */

import { FlannelError, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { NotificationSource } from "../netlink/monitor.ts";
import { type NftNotice, nftNotices } from "../netlink/nfnetlink.ts";
import { POLICY_TABLE } from "../policy/table.ts";

/** What following needs. */
export interface FilterChangesParts {
  /** Subscribes to the changes of nftables from this call on. Throws FlannelError where the kernel has none. */
  readonly openNftNotifications: () => NotificationSource;
  /** Whether a process is one of our own runs of nft: known when it has ended, and the kernel notifies before that. */
  readonly isOwn: (pid: number) => Promise<boolean>;
  /** Something foreign changed the table; the name of the process if it is known. */
  readonly onForeign: (by: string | undefined) => void;
  readonly logger: Logger;
}

/** Until aborted. Where the kernel does not notify, the table is checked at intervals only. */
export async function followFilterChanges(parts: FilterChangesParts, signal: AbortSignal): Promise<void> {
  let source: NotificationSource;
  try {
    source = parts.openNftNotifications();
  } catch (error) {
    if (!(error instanceof FlannelError)) throw error;
    parts.logger.debug(`Failed to subscribe to notifications of nftables: ${messageOf(error)}`);
    return;
  }
  signal.addEventListener("abort", () => source[Symbol.dispose](), { once: true });
  const notices = nftNotices(source, ({ family, table }) => `${family} ${table}` === POLICY_TABLE);
  for await (const batch of notices) {
    for (const notice of batch) {
      if (notice !== "overrun" && (await parts.isOwn(notice.pid ?? 0))) continue;
      parts.onForeign(nameOf(notice));
      break;
    }
  }
}

/** "nft (pid 812)". */
const nameOf = (notice: NftNotice): string | undefined =>
  notice === "overrun" || notice.processName === undefined
    ? undefined
    : `${notice.processName} (pid ${notice.pid})`;
