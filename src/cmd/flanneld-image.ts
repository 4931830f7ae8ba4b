/**
 * flanneld in its image: the host's variant of iptables comes first in PATH, then flanneld as everywhere. On a host, the
 * system's alternatives say which one it is; an image has both, in directories made by deploy/image/assemble.ts.
 */

import { chooseIptablesVariant } from "../firewall/host-variant.ts";
import { runCommand } from "../linux/exec.ts";

const VARIANTS = "/opt/flannel/iptables";

void chooseIptablesVariant({ run: runCommand }).then((variant) => {
  process.env.PATH = `${VARIANTS}/${variant}:${process.env.PATH}`;
  return import("./flanneld.ts");
});
