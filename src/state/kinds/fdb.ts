/** Permanent forwarding entries of VXLAN devices: MAC → address of the peer's tunnel endpoint. */

import {
  deleteFdbEntry,
  type FdbEntry as KernelFdbEntry,
  NTF_EXT_LEARNED,
  NUD_PERMANENT,
  newFdbEntry,
} from "../../netlink/neighbour.ts";
import type { ObjectKind } from "../object-kind.ts";

/** A permanent FDB entry for one station. */
export interface FdbEntry {
  readonly kind: "fdb";
  readonly device: string;
  readonly mac: string;
  readonly destination: string;
  /** UDP port, VNI or lower device other than the device's own, e.g. "port 4789": observed on foreign changes, never desired. */
  readonly detour?: string;
}

/** Entries for groups and the default destination (zero MAC) are not ours. */
function stateOfFdbEntry(entry: KernelFdbEntry, device: string): FdbEntry | undefined {
  const isPermanent = (entry.state & NUD_PERMANENT) !== 0 && (entry.flags & NTF_EXT_LEARNED) === 0;
  const isGroup = (Number.parseInt(entry.mac.slice(0, 2), 16) & 1) === 1 || entry.mac === "00:00:00:00:00:00";
  if (!isPermanent || isGroup || entry.destination === undefined) return undefined;
  const { mac, destination } = entry;
  const detour = (["port", "vni", "oif"] as const)
    .flatMap((name) => (entry[name] === undefined ? [] : [`${name} ${entry[name]}`]))
    .join(" ");
  return { kind: "fdb", device, mac, destination, ...(detour === "" ? {} : { detour }) };
}

/** Key: device and MAC. Observed with RTM_GETNEIGH of AF_BRIDGE; learned entries are left to the kernel. */
export const fdb: ObjectKind<FdbEntry> = {
  kind: "fdb",
  key: ({ device, mac }) => `fdb ${device} ${mac}`,
  device: ({ device }) => device,
  describe: ({ device, mac, destination, detour }) =>
    `fdb ${mac} dst ${destination} dev ${device}${detour === undefined ? "" : ` ${detour}`}`,
  netlink: {
    async observe({ own, rtnetlink, yieldToOthers }) {
      const found: FdbEntry[] = [];
      for (const { index, name } of own) {
        for (const each of rtnetlink.fdb({ ifindex: index }))
          found.push(...[stateOfFdbEntry(each, name)].filter((object) => object !== undefined));
        await yieldToOthers();
      }
      return found;
    },
    change: {
      how: "batched",
      requests({ action, object: { device, mac, destination, detour } }, { indexOf }) {
        const spec = { ifindex: indexOf(device), mac, destination };
        if (action !== "remove") return [newFdbEntry(spec)];
        // One with a detour is only matched by all its fields, or by its MAC alone.
        return [deleteFdbEntry(detour === undefined ? spec : { ...spec, destination: undefined })];
      },
    },
    readNotice(notification, { ownDevices }) {
      if (notification.type !== "fdb") return [];
      const isNew = notification.change === "new";
      const { value } = notification;
      const device = ownDevices.get(value.ifindex);
      if (device === undefined) return [];
      const object = isNew ? stateOfFdbEntry(value, device) : undefined;
      if (object !== undefined) return [{ action: "set", object }];
      const isLearned = (value.state & NUD_PERMANENT) === 0;
      if (isLearned && isNew) return [];
      return [{ action: "touched", object: { kind: "fdb", device, mac: value.mac, destination: "" } }];
    },
  },
};
