/** Bundles the CNI plugin for its engine: one module without any import, for QuickJS. */

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The text of the module. Throws what esbuild finds wrong: an import of a module of Node.js, for instance. */
export async function bundleForEngine(version: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(root, "src/cmd/cni-engine.ts")],
    bundle: true,
    write: false,
    platform: "neutral",
    format: "esm",
    target: "es2024",
    // As the other bundles: names stay, for the stack traces of crashes.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    define: { __VERSION__: JSON.stringify(version) },
  });
  return outputFiles[0]!.text;
}
