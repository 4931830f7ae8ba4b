/** Makes the status page one file: script and style, bundled by esbuild, in the place that page.html has for them. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const folder = fileURLToPath(new URL("../src/status/page", import.meta.url));

/** The page's text. Throws what esbuild finds wrong. */
export async function buildPage(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(folder, "main.ts"), join(folder, "page.css")],
    outdir: folder,
    write: false,
    bundle: true,
    minify: true,
    format: "iife",
    target: ["chrome111", "firefox115", "safari16.4"],
    legalComments: "none",
  });
  const textOf = (extension: string): string =>
    outputFiles.find(({ path }) => path.endsWith(extension))!.text.trim();
  return readFileSync(join(folder, "page.html"), "utf8")
    .replace("/*style*/", () => textOf(".css"))
    .replace("/*script*/", () => textOf(".js").replaceAll("</script", "<\\/script"));
}
