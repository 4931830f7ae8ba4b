/** flanneld as completion and man page need it, and what its man pages say besides its flags. */

import { FLANNELD_FLAGS } from "../config/options-table.ts";
import { FLANNELD_USAGE } from "../config/usage.ts";
import type { ManPageText } from "./man-page.ts";
import type { Program } from "./program-tree.ts";

/** flanneld: one command with flags. */
export const FLANNELD: Program = {
  name: "flanneld",
  summary: "gives this host a subnet of the container network, and programs the way to all others",
  nodes: [
    {
      ...{ words: [], summary: "", synopsis: "[flags]", commands: [], flags: FLANNELD_FLAGS },
      groups: FLANNELD_USAGE.groups ?? [],
      environment: FLANNELD_USAGE.environment,
      examples: FLANNELD_USAGE.examples ?? [],
    },
  ],
};

type Text = Omit<ManPageText, "date" | "version">;

const FILES: readonly (readonly [string, string])[] = [
  ["/etc/flannel/flanneld.yaml", "Values of flags, and the network config for an empty datastore."],
  ["/run/flannel/subnet.env", "This host's subnet and MTU, for Docker, CNI plugins and scripts."],
  ["/run/flannel/flanneld.sock", "The status server, for root and flannelctl."],
  ["/etc/sysconfig/flanneld, /etc/default/flanneld", "Settings of the systemd unit."],
];

/** Of flanneld(8). */
export const FLANNELD_PAGE: Text = {
  section: 8,
  description: [
    "flanneld leases a subnet of the container network for this host, and keeps devices, routes, neighbours and firewall rules so that containers of all hosts reach each other. It learns of the other hosts through a datastore: etcd, Kubernetes, or a store that one flanneld serves itself.",
    "Flags are written with one dash or two. Each can also be an environment variable (in brackets), or a setting of flanneld.yaml. The command line wins over the environment, which wins over the file.",
  ],
  sections: [
    { title: "FILES", items: FILES },
    {
      title: "SIGNALS",
      items: [
        [
          "SIGTERM, SIGINT",
          "End flanneld. Devices, routes and rules stay, so that containers keep their connections.",
        ],
        ["SIGUSR2", "Writes the flight recorder to a file beside subnet.env."],
      ],
    },
    {
      title: "EXIT STATUS",
      items: [
        ["0", "Ended by a signal, or printed what was asked for."],
        [
          "1",
          "A value is invalid, or something has to be fixed before another start; the last line says what.",
        ],
        ["2", "An unknown flag, or a value of the wrong form."],
      ],
    },
  ],
  seeAlso: ["flannelctl(8)", "systemctl(1)", "etcd(1)"],
};

/** Of flannelctl(8). */
export const FLANNELCTL_PAGE: Text = {
  section: 8,
  description: [
    "flannelctl shows and changes the network config and the leases of a flannel network, finds out why packets do not arrive, and makes networks of several hosts on one machine.",
    "Commands that need the datastore have flanneld's flags for it, read the same environment variables and the same flanneld.yaml, and on a host with flanneld's systemd unit its settings.",
  ],
  sections: [
    { title: "FILES", items: FILES },
    {
      title: "EXIT STATUS",
      items: [
        ["0", "Done; nothing is wrong."],
        ["1", "Failed or refused, with a reason on standard error; or problems were found."],
        ["2", "A usage error; no flanneld answers."],
        ["3", "plan: something would be changed."],
      ],
    },
  ],
  seeAlso: ["flanneld(8)"],
};
