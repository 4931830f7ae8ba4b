/**
 * Bundles each command into one file in dist/, so that a start reads one file instead of hundreds. Only koffi's native
 * part stays in node_modules, where the bundle finds it from dist/.
 */

import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Plugin } from "esbuild";

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

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
await build({
  entryPoints: ["flanneld", "flannelctl"]
    .map((name) => join(root, "src/cmd", `${name}.ts`))
    .filter((f) => existsSync(f)),
  outdir: dist,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node26",
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: "none",
  plugins: [namedLogCalls],
  define: { __VERSION__: JSON.stringify(versionOf(join(root, "package.json"))) },
  banner: {
    js: 'import{createRequire as __createRequire}from"node:module";const require=__createRequire(import.meta.url);',
  },
});
function versionOf(file: string): string {
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
