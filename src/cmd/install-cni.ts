/**
 * install-cni: what the init containers of the Kubernetes manifests run. Part of the image only, beside the plugin's tree.
 * Under the names `cp` and `install-conf` it is what the init containers of Go flannel's manifests run.
 */

import { basename } from "node:path";
import { ConfigError, FlannelError } from "../base/error.ts";
import { type CommandContext, defineCommand, defineGroup } from "../config/command.ts";
import { copyFile, copyFiles } from "../install/copy-file.ts";
import { installNetworkConfig } from "../install/install-network-config.ts";
import { installPlugin } from "../install/install-plugin.ts";
import { writeFileAtomic } from "../linux/files.ts";

/** The name that it was started under; the image has a link for each. */
const program = /^(?:cp|install-conf)$/.exec(basename(process.argv[1] ?? ""))?.[0] ?? "install-cni";
const args = process.argv.slice(2);

const context: CommandContext = {
  program,
  print: (line) => void process.stdout.write(`${line}\n`),
  printError: (line) => void process.stderr.write(`${line}\n`),
};

const installCni = defineGroup("install-cni: puts flannel's CNI plugin and network config onto a host.", {
  plugin: defineCommand({
    summary: "install the plugin",
    synopsis: "[flags]",
    flags: {
      from: {
        kind: "string",
        value: "dir",
        default: "/opt/flannel/plugin",
        help: "the plugin and its version",
      },
      to: {
        kind: "string",
        value: "dir",
        default: "/opt/cni/bin",
        help: "the host's CNI plugins, as this container sees them",
      },
      "host-path": {
        kind: "string",
        value: "dir",
        default: "/opt/cni/bin",
        help: "not needed any more: accepted for manifests of earlier versions",
      },
    },
    async run({ values }, { print }) {
      installPlugin({ from: values.from, to: values.to }).forEach(print);
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

/** `install-conf SOURCE TARGET`, as in Go flannel's image from v0.28 on: a copy in one step; a list of plugins is checked. */
async function installConf(paths: readonly string[]): Promise<readonly string[]> {
  const [from, to] = paths;
  if (from === undefined || to === undefined || paths.length > 2)
    throw new ConfigError("install-conf needs a source and a target; usage: install-conf SOURCE TARGET");
  if (!to.endsWith(".conflist")) return copyFile(from, to);
  return installNetworkConfig({ from, to }, { writeFile: writeFileAtomic });
}

void main().then((exitCode) => {
  process.exitCode = exitCode;
});

async function main(): Promise<number> {
  try {
    if (program === "install-cni") return await installCni.run(args, context, program);
    const lines = program === "cp" ? copyFiles(args) : await installConf(args);
    lines.forEach(context.print);
    return 0;
  } catch (error) {
    if (!(error instanceof FlannelError)) throw error;
    context.printError(`${program}: ${error.message}`);
    return 1;
  }
}
