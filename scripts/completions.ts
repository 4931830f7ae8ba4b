/**
 * Writes the completions of flannelctl and flanneld to dist/completions/, named as the shells find them:
 * bash/NAME, zsh/_NAME, fish/NAME.fish. usage: completions.ts [DIRECTORY]
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { flannelctl } from "../src/cmd/flannelctl-commands.ts";
import { COMPLETIONS } from "../src/reference/completion-command.ts";
import { programOf } from "../src/reference/program-tree.ts";
import { FLANNELD } from "../src/reference/programs.ts";

const directory = process.argv[2] ?? join(import.meta.dirname, "../dist/completions");
const fileNames: Readonly<Record<string, (name: string) => string>> = {
  bash: (name) => name,
  zsh: (name) => `_${name}`,
  fish: (name) => `${name}.fish`,
};

for (const [shell, complete] of Object.entries(COMPLETIONS)) {
  mkdirSync(join(directory, shell), { recursive: true });
  for (const program of [FLANNELD, programOf("flannelctl", flannelctl)]) {
    writeFileSync(join(directory, shell, fileNames[shell]!(program.name)), complete(program));
  }
}
