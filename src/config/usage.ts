/** The help of flanneld: its flags in groups, their variables, and command lines that work as they stand. */

import type { UsageText } from "./flags-text.ts";
import { ENVIRONMENT_PREFIX, FLANNELD_GROUPS } from "./options-table.ts";

/** Where the reference is: beside the program, and as man pages of the packages. */
export const REFERENCE_NOTE =
  "Reference: docs/flags.md and docs/flannelctl.md; man flanneld, man flannelctl.";

/** What `flanneld --help` prints around the flags. */
export const FLANNELD_USAGE: UsageText = {
  heading:
    "flanneld: gives this host a subnet of the container network, and programs the way to all others.\nusage: flanneld [flags]",
  groups: FLANNELD_GROUPS,
  environment: { prefix: ENVIRONMENT_PREFIX },
  examples: [
    {
      text: "with an etcd that has a network config",
      line: "flanneld --etcd-endpoints=http://192.168.64.1:2379 --ip-masq",
    },
    {
      text: "one machine, or the first of a few: no etcd is needed",
      line: "flanneld --datastore=embedded --network=10.5.0.0/16 --ip-masq",
    },
    {
      text: "in Kubernetes",
      line: "flanneld --kube-subnet-mgr --ip-masq --iface-can-reach=192.168.64.1",
    },
    { text: "which version this is", line: "flanneld --version -o json" },
  ],
  notes: [
    "In brackets: the environment variable of a flag. The command line wins over the environment, which wins over",
    "the file that --config-file names; flanneld --print-config shows what came from where.",
    REFERENCE_NOTE,
  ],
};
