/** Completion for zsh: a case for each command, with the descriptions of commands and flags (zshcompsys(1), _arguments). */

import type { FlagSpec } from "../config/flags.ts";
import { placeholderOf } from "../config/flags-text.ts";
import {
  dashed,
  type Program,
  type ProgramNode,
  takesFile,
  type ValueKind,
  valueKindOf,
} from "./program-tree.ts";

/** The text of the script, which has to be called `_NAME` in a directory of fpath. */
export function zshCompletion({ name, nodes }: Program): string {
  const places = nodes.filter(({ words }) => words.length > 0).map(placeOf);
  return `#compdef ${name}
# zsh completion for ${name}, made from its tables of commands and flags
_${name}() {
  local place='' word i depth=0
  local -a commands flags rest
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i]
    case "$place $word" in
      (${places.length === 0 ? "''" : places.map(quote).join("|")}) place="$place $word" depth=$((i - 1)) ;;
    esac
  done
  case "$place" in
${nodes.map(nodeCase).join("\n")}
  esac
  shift $depth words
  ((CURRENT -= depth))
  if (($#commands)) && [[ $CURRENT -eq 2 && $words[CURRENT] != -* ]]; then
    _describe -t commands command commands
    return
  fi
  _arguments -S : $flags $rest
}
if [[ $funcstack[1] == _${name} ]]; then
  _${name} "$@"
else
  compdef _${name} ${name}
fi
`;
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

const placeOf = ({ words }: ProgramNode): string => words.map((word) => ` ${word}`).join("");

function nodeCase(node: ProgramNode): string {
  const commands = node.commands.map(({ name, summary }) =>
    quote(`${name}:${summary.replaceAll(":", "\\:")}`),
  );
  const flags = Object.entries(node.flags).map(([name, spec]) => quote(argumentOf(name, spec)));
  return `    (${quote(placeOf(node))})
      commands=(${commands.join(" ")})
      flags=(${[...flags, "'--help[print the help]'"].join("\n        ")})
      rest=(${takesFile(node) ? "'*:file:_files'" : ""})
      ;;`;
}

/** "--etcd-cafile=[certificate authority…]:file:_files". */
function argumentOf(name: string, spec: FlagSpec): string {
  const help = spec.help.replace(/[[\]\\:]/g, "\\$&");
  const kind = valueKindOf(spec);
  const repeatable = spec.kind === "repeatable" ? "*" : "";
  if (kind === undefined) return `${dashed(name)}[${help}]`;
  const assign = name.length === 1 ? "" : "=";
  return `${repeatable}${dashed(name)}${assign}[${help}]:${placeholderOf(spec)}:${actionOf(kind)}`;
}

function actionOf(kind: Exclude<ValueKind, undefined>): string {
  switch (kind) {
    case "any":
      return "";
    case "file":
      return "_files";
    case "directory":
      return "_files -/";
    case "interface":
      return "_net_interfaces";
    default:
      return `(${kind.join(" ")})`;
  }
}
