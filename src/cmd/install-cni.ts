/**
 * install-cni: what the init containers of the Kubernetes manifests run. Part of the image only; it has the plugin's tree
 * beside it.
 */

import { FlannelError } from "../base/error.ts";
import { type CommandContext, defineCommand, defineGroup } from "../config/command.ts";
import { installNetworkConfig } from "../install/install-network-config.ts";
import { installPlugin } from "../install/install-plugin.ts";
import { writeFileAtomic } from "../linux/files.ts";

const context: CommandContext = {
  program: "install-cni",
  print: (line) => void process.stdout.write(`${line}\n`),
  printError: (line) => void process.stderr.write(`${line}\n`),
};

const installCni = defineGroup("install-cni: puts flannel's CNI plugin and network config onto a host.", {
  plugin: defineCommand({
    summary: "install the plugin, with all it needs to run",
    synopsis: "[flags]",
    flags: {
      from: { kind: "string", value: "dir", default: "/opt/flannel/plugin", help: "the plugin's tree" },
      to: {
        kind: "string",
        value: "dir",
        default: "/opt/cni/bin",
        help: "the host's CNI plugins, as seen from here",
      },
      "host-path": {
        kind: "string",
        value: "dir",
        default: "/opt/cni/bin",
        help: "the same, as the host sees it",
      },
    },
    async run({ values }, { print }) {
      installPlugin({ from: values.from, to: values.to, hostPath: values["host-path"] }).forEach(print);
      return 0;
    },
  }),
  config: defineCommand({
    summary: "install the network config",
    synopsis: "[flags]",
    flags: {
      from: { kind: "string", value: "file", default: "/etc/kube-flannel/cni-conf.json", help: "the config" },
      to: {
        kind: "string",
        value: "file",
        default: "/etc/cni/net.d/10-flannel.conflist",
        help: "where container runtimes look for it",
      },
    },
    async run({ values }, { print }) {
      const lines = await installNetworkConfig(values, { writeFile: writeFileAtomic });
      lines.forEach(print);
      return 0;
    },
  }),
});

void main().then((exitCode) => {
  process.exitCode = exitCode;
});

async function main(): Promise<number> {
  try {
    return await installCni.run(process.argv.slice(2), context, context.program);
  } catch (error) {
    if (!(error instanceof FlannelError)) throw error;
    context.printError(`install-cni: ${error.message}`);
    return 1;
  }
}
