/**
 * For the commands in the image: puts the host's variant of iptables first in PATH. On a host, the system's alternatives
 * say which one it is; an image has both, in directories made by deploy/image/assemble.ts.
 */

import { chooseIptablesVariant } from "../firewall/host-variant.ts";
import { runCommand } from "../linux/exec.ts";

const VARIANTS = "/opt/flannel/iptables";

export async function preferHostIptables(): Promise<void> {
  const variant = await chooseIptablesVariant({ run: runCommand });
  process.env.PATH = `${VARIANTS}/${variant}:${process.env.PATH}`;
}
