/** What a container runtime does with CNI (specification 1.0.0, sections 2 and 4): ADD and DEL, with flannel's own config. */

import { existsSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { FlannelError, messageOf } from "../../base/error.ts";
import { makeDirectory } from "../../base/make-directory.ts";
import { nodeSystem } from "../../cni/node-system.ts";
import { runPlugin } from "../../cni/run-plugin.ts";
import { writeFileAtomic } from "../../linux/files.ts";
import { netnsPath, withNetns } from "../../linux/netns.ts";
import type { CniContainer, Host } from "../plan/topology.ts";

/** Where the plugins are that flannel delegates to: Debian's, and everybody else's. */
const PLUGIN_DIRECTORIES = ["/usr/lib/cni", "/opt/cni/bin"];
const DELEGATES = ["bridge", "host-local"];
const INTERFACE = "eth0";
/** Of the pods of a lab. */
const POD_NAMESPACE = "default";

/** Throws FlannelError that says what to install. */
export function requireCniPlugins(directories: readonly string[] = PLUGIN_DIRECTORIES): void {
  const missing = DELEGATES.filter(
    (name) => !directories.some((directory) => existsSync(join(directory, name))),
  );
  if (missing.length === 0) return;
  throw new FlannelError(
    "ENOENT",
    `not installed: the CNI plugins ${missing.join(", ")} (looked for in ${directories.join(" and ")}); on Debian: apt-get install containernetworking-plugins`,
  );
}

/** Attaches a container whose namespace is there. Throws FlannelError. */
export async function attach(cniPlugin: string, host: Host, container: CniContainer): Promise<void> {
  const { stateDirectory, resultFile } = container.attachment;
  makeDirectory(stateDirectory, 0o700);
  const result = await call(cniPlugin, host, container, "ADD");
  await writeFileAtomic(resultFile, result, 0o644);
}

/** Detaches it, as often as one likes. Throws FlannelError. */
export async function detach(cniPlugin: string, host: Host, container: CniContainer): Promise<void> {
  await call(cniPlugin, host, container, "DEL");
  rmSync(container.attachment.resultFile, { force: true });
}

/** "10.5.1.2/24", "fd00:5:0:1::2/64"; undefined if it is not attached. */
export function attachedAddresses({ attachment }: CniContainer): string[] | undefined {
  if (!existsSync(attachment.resultFile)) return undefined;
  const result = JSON.parse(readFileSync(attachment.resultFile, "utf8")) as {
    readonly ips: readonly { readonly address: string }[];
  };
  return result.ips.map(({ address }) => address);
}

async function call(
  cniPlugin: string,
  host: Host,
  container: CniContainer,
  command: "ADD" | "DEL",
): Promise<string> {
  const { stateDirectory, waitsForPolicies } = container.attachment;
  const config = {
    cniVersion: "1.0.0",
    name: "cbr0",
    type: "flannel",
    subnetFile: host.subnetFile,
    ...(waitsForPolicies && { failClosed: true }),
    // Each host would have these in its /var/lib/cni.
    dataDir: join(stateDirectory, "flannel"),
    ipam: { dataDir: join(stateDirectory, "networks") },
    delegate: { hairpinMode: true, isDefaultGateway: true },
  };
  try {
    const system = nodeSystem({ within: (start) => withNetns(netnsPath(host.netns), start) });
    return await runPlugin(system, {
      path: cniPlugin,
      config: JSON.stringify(config),
      environment: {
        PATH: process.env.PATH,
        CNI_COMMAND: command,
        CNI_CONTAINERID: container.netns,
        CNI_NETNS: netnsPath(container.netns),
        CNI_IFNAME: INTERFACE,
        // As containerd and CRI-O name the pod.
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${POD_NAMESPACE};K8S_POD_NAME=${container.name}`,
        CNI_PATH: [dirname(cniPlugin), ...PLUGIN_DIRECTORIES].join(":"),
      },
    });
  } catch (error) {
    throw new FlannelError("CNI", `CNI ${command} of ${container.name}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
