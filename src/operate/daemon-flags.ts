/** Flags of commands that query a running flanneld. */

import type { FlagTable } from "../config/flags.ts";

/** Flags of every command that queries a running flanneld. */
export const DAEMON_FLAGS = {
  socket: {
    kind: "string",
    value: "file",
    default: "/run/flannel/flanneld.sock",
    help: "socket of flanneld, beside the file of its --subnet-file",
  },
} as const satisfies FlagTable;
