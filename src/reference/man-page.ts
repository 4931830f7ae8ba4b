/** Manual pages of a program, in the macros of man(7), from its tables of commands and flags. */

import { type FlagTable, variableOf } from "../config/flags.ts";
import { defaultNote, type Example, groupFlags, placeholderOf } from "../config/flags-text.ts";
import { dashed, type Program, type ProgramNode } from "./program-tree.ts";

/** What the tables do not say. */
export interface ManPageText {
  readonly section: number;
  /** "2026-11-28"; of the commit, so that the same sources give the same page. */
  readonly date: string;
  readonly version: string;
  /** Paragraphs. */
  readonly description: readonly string[];
  /** Further sections: title, and for each item its term and text. */
  readonly sections: readonly {
    readonly title: string;
    readonly items: readonly (readonly [string, string])[];
  }[];
  readonly seeAlso: readonly string[];
}

/** The text of a page. */
export function manPage({ name, summary, nodes }: Program, text: ManPageText): string {
  const [root, ...commands] = nodes as [ProgramNode, ...ProgramNode[]];
  const lines = [
    `.TH ${name.toUpperCase()} ${text.section} ${text.date} ${quoted(`flannel-ts ${text.version}`)} ${quoted("System Administration")}`,
    ".SH NAME",
    `${roff(name)} \\- ${roff(withoutName(summary, name))}`,
    ".SH SYNOPSIS",
    `.B ${roff(name)}`,
    roff(root.synopsis),
    ".SH DESCRIPTION",
    ...text.description.flatMap((paragraph, index) => [...(index === 0 ? [] : [".PP"]), roff(paragraph)]),
    ...(commands.length === 0
      ? options(root)
      : [".SH COMMANDS", ...commands.flatMap((node) => command(name, node))]),
    ...text.sections.flatMap(({ title, items }) => [
      `.SH ${title}`,
      ...items.flatMap(([term, meaning]) => [".TP", `.B ${roff(term)}`, roff(meaning)]),
    ]),
    ...examples(".SH EXAMPLES", root.examples, commands.length === 0 ? "" : `${name} `),
    ".SH SEE ALSO",
    roff(text.seeAlso.join(", ")),
  ];
  return `${lines.join("\n")}\n`;
}

/** "flanneld: gives…" → "gives…". */
const withoutName = (summary: string, name: string): string =>
  summary.replace(`${name}: `, "").replace(/\.$/, "");

function options(node: ProgramNode): string[] {
  const { flags, groups, environment } = node;
  return [
    ".SH OPTIONS",
    ...groupFlags(flags, groups).flatMap(({ title, names }) => [
      ...(title === "" ? [] : [`.SS ${quoted(title)}`]),
      ...names.flatMap((name) => option(flags, name, environment)),
    ]),
  ];
}

function option(flags: FlagTable, name: string, environment: ProgramNode["environment"]): string[] {
  const spec = flags[name]!;
  const placeholder = placeholderOf(spec);
  const hasVariable =
    environment !== undefined && !spec.commandLineOnly && (environment.names?.includes(name) ?? true);
  const notes = [defaultNote(spec), hasVariable ? `[${variableOf(environment.prefix, name)}]` : ""];
  return [
    ".TP",
    `.B ${roff(dashed(name))}${placeholder === "" ? "" : ` \\fI${roff(placeholder)}\\fR`}`,
    roff([`${capitalize(spec.help)}.`, ...notes].filter((part) => part !== "").join(" ")),
  ];
}

/** Flags that many commands share are listed once, with the first command that has them. */
function command(program: string, node: ProgramNode): string[] {
  const { words, summary, synopsis, flags, groups, commands } = node;
  if (commands.length > 0) return []; // its commands follow
  const shared = new Set(groups.flatMap(({ names }) => names));
  const own = Object.keys(flags).filter((name) => !shared.has(name));
  const titles = groups.map(({ title }) => title.toLowerCase()).filter((title) => title !== "program");
  return [
    `.SS ${quoted(`${program} ${words.join(" ")} ${synopsis}`.trim())}`,
    roff(`${capitalize(summary).replace(/\.$/, "")}.`),
    ...own.flatMap((name) => option(flags, name, undefined)),
    ...(titles.length === 0
      ? []
      : [".PP", roff(`Flags of flanneld: ${titles.join(", ")}; see flanneld(8).`)]),
    ...examples(undefined, node.examples, `${program} ${words.join(" ")} `),
  ];
}

/** `heading`: of a section of its own; undefined = within a section. */
const examples = (heading: string | undefined, list: readonly Example[], prefix: string): string[] => [
  ...(heading === undefined || list.length === 0 ? [] : [heading]),
  ...list.flatMap(({ text, line }, index) => [
    ...(index === 0 && heading !== undefined ? [] : [".PP"]),
    ...[`${capitalize(roff(text))}:`, ".PP", ".EX", `    ${roff(prefix + line)}`, ".EE"],
  ]),
];

const capitalize = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

const quoted = (text: string): string => `"${roff(text).replaceAll('"', "\\(dq")}"`;

/** roff's special characters; everything beyond ASCII by its code (groff_char(7)). */
function roff(text: string): string {
  const plain = text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(
      /[^\x20-\x7e]/gu,
      (char) => `\\[u${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`,
    );
  return /^[.']/.test(plain) ? `\\&${plain}` : plain;
}
