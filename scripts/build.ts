/**
 * Bundles each command into one file in dist/, so that a start reads one file instead of hundreds. Only koffi's native
 * part stays in node_modules, where the bundle finds it from dist/.
 */

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Plugin } from "esbuild";

/** The commands, and those that run in the image only. */
const COMMANDS = ["flanneld", "flannelctl", "udp-worker"];
const IMAGE_COMMANDS = ["flanneld-image", "flannelctl-image", "install-cni"];

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");

/** Writes the place of each log call into it ("run.ts:42"), which the bundle would otherwise have forgotten. */
const namedLogCalls: Plugin = {
  name: "named-log-calls",
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, ({ path }) => {
      const lines = readFileSync(path, "utf8").split("\n");
      const contents = lines
        .map((line, index) =>
          line.replace(
            /((?:[\w$#]+\.)*#?logger)\.(info|warn|error|debug|fatal)\(/g,
            (_, logger: string, level: string) =>
              `(${logger}.at?.("${basename(path)}:${index + 1}")??${logger}).${level}(`,
          ),
        )
        .join("\n");
      return { contents, loader: "ts" };
    });
  },
};

// Made beside and put in place file by file: a flanneld that starts meanwhile reads the old bundle or the new one.
const fresh = `${dist}.${process.pid}`;
await build({
  entryPoints: [
    ...[...COMMANDS, ...IMAGE_COMMANDS].map((name) => ({
      in: join(root, "src/cmd", `${name}.ts`),
      out: name,
    })),
    { in: join(root, "src/cmd/cni.ts"), out: "flannel" }, // a CNI plugin is called what configs name as its type
  ],
  outdir: fresh,
  outExtension: { ".js": ".cjs" },
  bundle: true,
  platform: "node",
  // Not ESM: an import of a builtin module there reads all its exports, which loads half of Node.js (10 ms of a start).
  format: "cjs",
  target: "node26",
  minifySyntax: true,
  legalComments: "none",
  plugins: [namedLogCalls],
  define: {
    __VERSION__: JSON.stringify(versionOf(join(root, "package.json"))),
    "import.meta.url": "__moduleUrl",
    "import.meta.dirname": "__dirname",
  },
  banner: { js: 'const __moduleUrl = require("node:url").pathToFileURL(__filename).href;' },
});
mkdirSync(dist, { recursive: true });
for (const file of readdirSync(fresh)) renameSync(join(fresh, file), join(dist, file));
rmSync(fresh, { recursive: true });

function versionOf(file: string): string {
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
