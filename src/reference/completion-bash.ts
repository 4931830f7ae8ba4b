/** Completion for bash 4 and later; without the bash-completion package's functions, which not every host has. */

import {
  dashed,
  type Program,
  type ProgramNode,
  takesFile,
  type ValueKind,
  valueKindOf,
} from "./program-tree.ts";

/** The text of the script. */
export function bashCompletion({ name, nodes }: Program): string {
  const groups = nodes.filter(({ words }) => words.length > 0).map(placeOf);
  const values = valueCases(nodes);
  return `# bash completion for ${name}, made from its tables of commands and flags
_${name}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]}
  local place='' flag='' commands='' flags='' files='' word i
  # "--flag=value" is three words.
  if [[ $cur == = ]]; then
    flag=$prev cur=''
  elif [[ $prev == = ]]; then
    flag=\${COMP_WORDS[COMP_CWORD - 2]}
  elif [[ $prev == -* ]]; then
    flag=$prev
  fi
  flag=\${flag#-} flag=\${flag#-}
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case "$place $word" in
      ${groups.length === 0 ? "''" : groups.map(quote).join(" | ")}) place="$place $word" ;;
    esac
  done
  case "$place" in
${nodes.map(nodeCase).join("\n")}
  esac
  COMPREPLY=()
  case "$place:$flag" in
${values}
  esac
  if [[ $cur == --* || $cur == - ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
  elif [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "\${flags//--/-}" -- "$cur")
  elif [[ -n $files ]]; then
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  else
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
  fi
}
complete -F _${name} ${name}
`;
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** " leases list"; empty for the program. */
const placeOf = ({ words }: ProgramNode): string => words.map((word) => ` ${word}`).join("");

function nodeCase(node: ProgramNode): string {
  const commands = node.commands.map(({ name }) => name);
  const flags = [...Object.keys(node.flags), "help"].map(dashed);
  const parts = [
    ...(commands.length === 0 ? [] : [`commands=${quote([...commands, "help"].join(" "))}`]),
    `flags=${quote(flags.join(" "))}`,
    ...(takesFile(node) ? ["files=1"] : []),
  ];
  return `    ${quote(placeOf(node))}) ${parts.join(" ")} ;;`;
}

/** A case for each way to complete a value, with all flags that are completed in this way. */
function valueCases(nodes: readonly ProgramNode[]): string {
  const patterns = new Map<string, string[]>();
  for (const node of nodes) {
    for (const [name, spec] of Object.entries(node.flags)) {
      const action = actionOf(valueKindOf(spec));
      if (action === undefined) continue;
      const list = patterns.get(action) ?? [];
      patterns.set(action, list);
      list.push(quote(`${placeOf(node)}:${name}`));
    }
  }
  return [...patterns]
    .map(([action, list]) => `    ${list.join(" | ")})\n      ${action}\n      return\n      ;;`)
    .join("\n");
}

/** Undefined = the flag takes no value: what follows is something else. */
function actionOf(kind: ValueKind): string | undefined {
  const offer = (words: string): string => `mapfile -t COMPREPLY < <(compgen ${words} -- "$cur")`;
  switch (kind) {
    case undefined:
      return undefined;
    case "any":
      return ":";
    case "file":
      return `compopt -o filenames\n      ${offer("-f")}`;
    case "directory":
      return `compopt -o filenames\n      ${offer("-d")}`;
    case "interface":
      return offer('-W "$(command ls /sys/class/net)"');
    default:
      return offer(`-W ${quote(kind.join(" "))}`);
  }
}
