/** `flannelctl completion SHELL`: the script that completes the command lines of flannelctl and flanneld. */

import { ConfigError } from "../base/error.ts";
import { type Command, defineCommand } from "../config/command.ts";
import { bashCompletion } from "./completion-bash.ts";
import { fishCompletion } from "./completion-fish.ts";
import { zshCompletion } from "./completion-zsh.ts";
import type { Program } from "./program-tree.ts";

/** By the shell's name. */
export const COMPLETIONS: Readonly<Record<string, (program: Program) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** `programs` are asked for when the command runs: they contain it. */
export const completionCommand = (programs: () => readonly Program[]): Command =>
  defineCommand({
    summary: "print a script for completion in bash, zsh or fish",
    synopsis: "bash|zsh|fish",
    flags: {},
    takes: { words: ["SHELL"] },
    examples: [{ text: "for all users of this host", line: "bash >/etc/bash_completion.d/flannelctl" }],
    async run({ positional: [shell] }, { print }) {
      const complete = Object.hasOwn(COMPLETIONS, shell!) ? COMPLETIONS[shell!]! : undefined;
      if (complete === undefined) {
        throw new ConfigError(
          `${JSON.stringify(shell)} is no shell known here: use ${Object.keys(COMPLETIONS).join(", ")}`,
        );
      }
      print(programs().map(complete).join("\n").trimEnd());
      return 0;
    },
  });
