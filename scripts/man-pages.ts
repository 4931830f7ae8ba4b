/**
 * Writes the manual pages of flannelctl and flanneld to dist/man/man8/. The date is SOURCE_DATE_EPOCH's, else that of the
 * commit, so that the same sources give the same pages. usage: man-pages.ts [DIRECTORY]
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { flannelctl } from "../src/cmd/flannelctl-commands.ts";
import { VERSION } from "../src/cmd/version.ts";
import { manPage } from "../src/reference/man-page.ts";
import { programOf } from "../src/reference/program-tree.ts";
import { FLANNELCTL_PAGE, FLANNELD, FLANNELD_PAGE } from "../src/reference/programs.ts";

const root = join(import.meta.dirname, "..");
const directory = process.argv[2] ?? join(root, "dist/man");
const date = dateOf(process.env.SOURCE_DATE_EPOCH ?? commitSeconds() ?? "0");

for (const [program, text] of [
  [FLANNELD, FLANNELD_PAGE],
  [programOf("flannelctl", flannelctl), FLANNELCTL_PAGE],
] as const) {
  const folder = join(directory, `man${text.section}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, `${program.name}.${text.section}`),
    manPage(program, { ...text, date, version: VERSION }),
  );
}

function dateOf(seconds: string): string {
  return new Date(Number(seconds) * 1000).toISOString().slice(0, 10);
}

function commitSeconds(): string | undefined {
  const { status, stdout } = spawnSync("git", ["-C", root, "log", "-1", "--format=%ct"], {
    encoding: "utf8",
  });
  return status === 0 ? stdout.trim() : undefined;
}
