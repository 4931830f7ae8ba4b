/**
 * For the plugin's unit tests: a node whose delegates are shell scripts that record how they are called. With the variable
 * FLANNEL_TEST_CNI_PLUGIN the plugin is that executable, in a process of its own.
 */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import manifest from "../../package.json" with { type: "json" };
import { runFlannelPlugin } from "../../src/cni/cni-plugin.ts";
import { nodeSystem } from "../../src/cni/node-system.ts";

/** A complete subnet.env. */
export const ENV =
  "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
/** The delegate's result of ADD. */
export const RESULT = '{"cniVersion":"1.0.0","ips":[{"address":"10.5.72.3/24"}]}';

/** Records each call and its config, then does what the file on-COMMAND says, if there is one. */
const DELEGATE = `#!/bin/sh
d=\${0%/*}
{ printf '%s %s %s %s ' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_IFNAME" "$CNI_NETNS"; cat | tee "$d/last"; echo; } >>"$d/calls"
if [ -f "$d/on-$CNI_COMMAND" ]; then . "$d/on-$CNI_COMMAND"; fi
if [ "$CNI_COMMAND" = ADD ]; then printf '%s' '${RESULT}'; fi
`;

/** What the plugin prints as its version. */
export const PLUGIN_VERSION =
  process.env.FLANNEL_TEST_CNI_PLUGIN === undefined ? "v1.2.3" : `v${manifest.version}`;

interface Answer {
  readonly exitCode: number;
  readonly stdout: string;
  // biome-ignore lint/suspicious/noExplicitAny: what the plugin printed
  readonly json: any;
  readonly stderr: string;
}

/** A node in its own temporary directory, and the plugin on it. */
export function makeBed(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), `cni-plugin-${process.pid}-`));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const plugins = join(root, "plugins");
  const dataDir = join(root, "data");
  mkdirSync(plugins);
  writeFileSync(join(root, "subnet.env"), ENV);
  writeFileSync(join(plugins, "bridge"), DELEGATE, { mode: 0o755 });
  const run = async (
    command: string,
    config: object | string = {},
    variables: Record<string, string> = {},
  ): Promise<Answer> => {
    const output = { stdout: "", stderr: "" };
    const text =
      typeof config === "string"
        ? config
        : JSON.stringify({
            cniVersion: "1.0.0",
            name: "cbr0",
            type: "flannel",
            subnetFile: join(root, "subnet.env"),
            dataDir,
            ...config,
          });
    const environment: Record<string, string> = {
      PATH: process.env.PATH!,
      CNI_COMMAND: command,
      CNI_CONTAINERID: "4f2a",
      CNI_NETNS: "/run/netns/none",
      CNI_IFNAME: "eth0",
      CNI_PATH: plugins,
      ...variables,
    };
    const executable = process.env.FLANNEL_TEST_CNI_PLUGIN;
    if (executable !== undefined) return runExecutable(executable, environment, text);
    const exitCode = await runFlannelPlugin({
      system: nodeSystem({
        onStderr: (text) => {
          output.stderr += text;
        },
      }),
      environment,
      readInput: async () => text,
      readPromptInput: async () => text,
      print: (printed) => {
        output.stdout += printed;
      },
      printError: (printed) => {
        output.stderr += printed;
      },
      version: PLUGIN_VERSION,
    });
    return answerOf(exitCode, output);
  };
  return {
    run,
    root,
    dataDir,
    /** A shell script for the delegate's command; undefined = it succeeds. */
    on: (command: string, script: string | undefined) => {
      const path = join(plugins, `on-${command}`);
      if (script === undefined) rmSync(path, { force: true });
      else writeFileSync(path, script);
    },
    /** "ADD 4f2a eth0" and the config of each call since the last time. */
    calls: () => {
      const path = join(plugins, "calls");
      const lines = existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : [];
      rmSync(path, { force: true });
      return lines.map((line) => {
        const at = line.indexOf("{");
        return { call: line.slice(0, at).trim(), config: JSON.parse(line.slice(at)) };
      });
    },
    kept: () => (existsSync(dataDir) ? readdirSync(dataDir).sort() : []),
    keep: (name: string, text: string) => {
      mkdirSync(dataDir, { recursive: true });
      writeFileSync(join(dataDir, name), text);
    },
    makeFifo: (name: string) => void execFileSync("mkfifo", [join(dataDir, name)]),
    addDelegate: (name: string, script: string, mode = 0o755) =>
      writeFileSync(join(plugins, name), script, { mode }),
  };
}

const answerOf = (exitCode: number, output: { stdout: string; stderr: string }): Answer => ({
  exitCode,
  ...output,
  json: output.stdout === "" ? undefined : JSON.parse(output.stdout),
});

async function runExecutable(path: string, env: Record<string, string>, input: string): Promise<Answer> {
  const output = { stdout: "", stderr: "" };
  const child = spawn(path, { env, stdio: "pipe" });
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      output[name] += text;
    });
  }
  child.stdin.on("error", () => {}); // it ended without reading all
  child.stdin.end(input);
  const [exitCode] = (await once(child, "close")) as [number];
  return answerOf(exitCode, output);
}

/** For `on`: the delegate fails with a CNI error. */
export const FAILURE = `echo '{"cniVersion":"1.0.0","code":11,"msg":"range is full","details":"10.5.72.0/24"}'; exit 1`;
