/** Completion for fish: a line for each command and flag, and a function that says which command is being written. */

import type { FlagSpec } from "../config/flags.ts";
import { type Program, type ProgramNode, takesFile, type ValueKind, valueKindOf } from "./program-tree.ts";

/** The text of the script. */
export function fishCompletion({ name, nodes }: Program): string {
  const places = nodes.filter(({ words }) => words.length > 0).map(placeOf);
  return `# fish completion for ${name}, made from its tables of commands and flags
function __${name}_at
    set -l place ''
    for word in (commandline -opc)[2..-1]
        switch "$place $word"
            case ${places.length === 0 ? "''" : places.map(quote).join(" ")}
                set place "$place $word"
        end
    end
    test "$place" = "$argv[1]"
end
complete -c ${name} -f
${nodes.flatMap((node) => linesOf(name, node)).join("\n")}
`;
}

const quote = (text: string): string => `'${text.replace(/[\\']/g, "\\$&")}'`;

const placeOf = ({ words }: ProgramNode): string => words.map((word) => ` ${word}`).join("");

function linesOf(program: string, node: ProgramNode): string[] {
  const begin = `complete -c ${program} -n ${quote(`__${program}_at ${quote(placeOf(node))}`)}`;
  const commands = node.commands.map(({ name, summary }) => `${begin} -a ${name} -d ${quote(summary)}`);
  const flags = Object.entries(node.flags).map(([name, spec]) => `${begin} ${flagOf(name, spec)}`);
  return [...commands, ...flags, ...(takesFile(node) ? [`${begin} -F`] : [])];
}

/** "-l etcd-cafile -r -F -d 'certificate authority…'". */
const flagOf = (name: string, spec: FlagSpec): string =>
  [
    `${name.length === 1 ? "-s" : "-l"} ${name}`,
    ...argumentsOf(valueKindOf(spec)),
    `-d ${quote(spec.help)}`,
  ].join(" ");

function argumentsOf(kind: ValueKind): string[] {
  switch (kind) {
    case undefined:
      return [];
    case "any":
      return ["-x"];
    case "file":
      return ["-r -F"];
    case "directory":
      return ["-x -a '(__fish_complete_directories)'"];
    case "interface":
      return ["-x -a '(command ls /sys/class/net)'"];
    default:
      return [`-x -a ${quote(kind.join(" "))}`];
  }
}
