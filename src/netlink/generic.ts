/** Generic netlink (linux/genetlink.h): families that are found by name, and the header of their messages. */

import { isNotFound } from "../base/error.ts";
import { attributeTable } from "./attribute.ts";
import type { NetlinkConnection } from "./connection.ts";
import { string, u8, u16 } from "./kind.ts";
import { layoutOf, requestOf } from "./message.ts";
import { struct } from "./struct.ts";

// linux/genetlink.h
const GENL_ID_CTRL = 0x10;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_VERSION = 2;

/** `struct genlmsghdr`. */
export const GENLMSGHDR = struct("genlmsghdr", [
  ["command", u8],
  ["version", u8],
  ["_reserved", u16],
]);

const FAMILY = layoutOf(
  GENLMSGHDR,
  attributeTable({ CTRL_ATTR_FAMILY_ID: [1, "id", u16], CTRL_ATTR_FAMILY_NAME: [2, "name", string] }),
);

/** The number of a family, which is the type of its messages; undefined = the kernel has none of that name. Throws NetlinkError. */
export function findGenericFamily(connection: NetlinkConnection, name: string): number | undefined {
  const request = requestOf("CTRL_CMD_GETFAMILY", GENL_ID_CTRL, 0, FAMILY, {
    command: CTRL_CMD_GETFAMILY,
    version: CTRL_VERSION,
    name,
  });
  try {
    const [answer] = connection.request(request);
    return answer && FAMILY.decode(answer.bytes, answer.start, answer.end).id;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
