/**
 * Bundles programs with esbuild, each into one CommonJS file that knows where its parts come from: log lines name the
 * source (src/base/source-table.ts), not the bundle.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { encodeSourceTable, type SourceEntry } from "../src/base/source-table.ts";

/** A program: the source of its main module, and the name of its bundle without ".cjs". */
export interface Program {
  readonly in: string;
  readonly out: string;
  /** The bundle's first line, "#!/usr/bin/node", where it is a command by itself. */
  readonly hashbang?: string;
}

/** The bundle's own map is of no use to it, so the banner has a place for the table that is made from the map. */
const TABLE_PLACE = "<source table>";
const BANNER =
  'const __moduleUrl = require("node:url").pathToFileURL(__filename).href, ' +
  `__sourceTable = "${TABLE_PLACE}";`;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const THIS_LOGGER = "src/base/klog.ts";

/** Writes `<out>.cjs` for each program into a directory; `revision`: the commit, "" = unknown. Throws what esbuild finds wrong. */
export async function bundlePrograms(
  programs: readonly Program[],
  outdir: string,
  version: string,
  revision = "",
): Promise<void> {
  const { outputFiles, metafile } = await build({
    entryPoints: programs.map((program) => ({ in: program.in, out: program.out })),
    outdir,
    outExtension: { ".js": ".cjs" },
    bundle: true,
    write: false,
    metafile: true,
    sourcemap: "external",
    sourcesContent: false,
    platform: "node",
    // Not ESM: an import of a builtin module there reads all its exports, which loads half of Node.js (10 ms of a start).
    format: "cjs",
    target: "node26",
    // Less text to parse at each start. Names stay, for the stack traces of crashes.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    define: {
      __VERSION__: JSON.stringify(version),
      __REVISION__: JSON.stringify(revision),
      "import.meta.url": "__moduleUrl",
      "import.meta.dirname": "__dirname",
    },
    banner: { js: BANNER },
    inject: [join(root, "src/lease/etcd/plain-headers.ts")],
  });
  const logging = new Set(
    Object.entries(metafile.outputs)
      .filter(([, output]) => Object.keys(output.inputs).some((input) => input.endsWith(THIS_LOGGER)))
      .map(([path]) => basename(path)),
  );
  const textOf = new Map(outputFiles.map((file) => [file.path, file.text]));
  mkdirSync(outdir, { recursive: true });
  for (const { out, hashbang } of programs) {
    const path = join(outdir, `${out}.cjs`);
    const text = `${hashbang === undefined ? "" : `${hashbang}\n`}${textOf.get(path)!}`;
    const map = new SourceMap(JSON.parse(textOf.get(`${path}.map`)!));
    const table = logging.has(basename(path))
      ? encodeSourceTable(entriesOf(text, map, hashbang === undefined ? 0 : 1))
      : "";
    writeFileSync(
      path,
      text.replace(TABLE_PLACE, () => table),
    );
  }
}

/** An entry for each call in the bundle, at the name of what it calls, where V8's stacks have it. Libraries have no source. */
function* entriesOf(text: string, map: SourceMap, linesBefore: number): Generator<SourceEntry> {
  for (const [index, line] of text.split("\n").entries()) {
    if (index <= linesBefore) continue; // the banner
    for (const { index: bundleColumn } of line.matchAll(/[\w$]+(?=(?:\?\.)?\()/g)) {
      const found = map.findEntry(index - linesBefore, bundleColumn);
      const isOurs = "originalSource" in found && !found.originalSource.includes("node_modules/");
      yield {
        bundleLine: index + 1,
        bundleColumn,
        file: isOurs ? basename(found.originalSource) : "",
        line: isOurs ? found.originalLine + 1 : 0,
      };
    }
  }
}
