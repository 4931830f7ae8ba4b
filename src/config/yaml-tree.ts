/**
 * A YAML file that people write, as a tree in which each value knows its line (YAML 1.2.2, core schema). Refused, because
 * they are mistakes in such a file: duplicate keys, tabs, aliases, several documents.
 */

import type { LineCounter, ParsedNode } from "yaml";

/** A value of the file. */
export interface YamlNode {
  /** Of a member: the line of its name. From 1 on. */
  readonly line: number;
  readonly type: "text" | "number" | "boolean" | "null" | "list" | "map";
  /** As plain data. */
  readonly value: unknown;
  /** Of text and numbers: the text itself; 010 and 1.10 as they are written. */
  readonly text: string;
  readonly items: readonly YamlNode[];
  readonly members: ReadonlyMap<string, YamlNode>;
}

/** What is wrong in a line of the file. */
export interface YamlFault {
  readonly line: number;
  readonly complaint: string;
}

/** The root of the file (null for an empty one), and all faults; undefined = it is not YAML. Loads the parser (0.5 MB). */
export async function parseYaml(text: string): Promise<{ root: YamlNode | undefined; faults: YamlFault[] }> {
  const yaml = await import("yaml");
  const lines = new yaml.LineCounter();
  const document = yaml.parseDocument(text.replace(/^\uFEFF/, ""), {
    ...{ lineCounter: lines, prettyErrors: false, uniqueKeys: false, merge: false, logLevel: "error" },
  });
  const faults = document.errors.map(({ code, message, pos }) => ({
    line: lines.linePos(pos[0]).line,
    complaint: describeSyntax(code, message),
  }));
  if (faults.length > 0) return { root: undefined, faults };
  const root = new TreeReader(yaml, lines, faults).read(document.contents as ParsedNode | null, 1);
  return { root, faults };
}

const EMPTY = { text: "", items: [], members: new Map<string, YamlNode>() };

class TreeReader {
  readonly #yaml: typeof import("yaml");
  readonly #lines: LineCounter;
  readonly #faults: YamlFault[];

  constructor(yaml: typeof import("yaml"), lines: LineCounter, faults: YamlFault[]) {
    this.#yaml = yaml;
    this.#lines = lines;
    this.#faults = faults;
  }

  /** `line`: of the member's name; else the value's own is used. */
  read(node: ParsedNode | null, line = this.#lineOf(node)): YamlNode {
    const { isMap, isSeq, isScalar, isAlias } = this.#yaml;
    if (isMap(node))
      return this.#readMap(node.items as readonly { key: ParsedNode; value: ParsedNode | null }[], line);
    if (isSeq(node)) {
      const items = node.items.map((item) => this.read(item as ParsedNode | null));
      return { ...EMPTY, line, type: "list", items, value: items.map(({ value }) => value) };
    }
    if (isAlias(node)) {
      this.#faults.push({ line, complaint: "an alias (*) is not supported: repeat the value" });
      return { ...EMPTY, line, type: "text", value: "" };
    }
    if (!isScalar(node) || node.value === null) return { ...EMPTY, line, type: "null", value: null };
    const { value, source = "" } = node;
    switch (typeof value) {
      case "boolean":
        return { ...EMPTY, line, type: "boolean", value };
      case "number":
      case "bigint":
        return { ...EMPTY, line, type: "number", value: Number(value), text: source };
      default:
        return { ...EMPTY, line, type: "text", value: String(value), text: String(value) };
    }
  }

  #readMap(pairs: readonly { key: ParsedNode; value: ParsedNode | null }[], line: number): YamlNode {
    const members = new Map<string, YamlNode>();
    for (const { key, value } of pairs) {
      const name = this.read(key);
      const text = name.type === "text" || name.type === "number" ? name.text : "";
      if (text === "")
        this.#faults.push({ line: name.line, complaint: "the name of a setting must be text" });
      const before = members.get(text);
      if (before !== undefined) {
        this.#faults.push({
          line: name.line,
          complaint: `${text}: occurs twice (first in line ${before.line})`,
        });
      } else members.set(text, this.read(value, name.line));
    }
    const value = Object.fromEntries([...members].map(([name, member]) => [name, member.value]));
    return { ...EMPTY, line, type: "map", members, value };
  }

  #lineOf(node: ParsedNode | null): number {
    return node === null ? 1 : this.#lines.linePos(node.range[0]).line;
  }
}

/** The parser's own messages may quote the text, which may be secret. */
function describeSyntax(code: string, message: string): string {
  switch (code) {
    case "TAB_AS_INDENT":
      return "a tab indents this line: YAML allows spaces only";
    case "MULTIPLE_DOCS":
      return 'a second document begins ("---"): a file has one';
    case "MISSING_CHAR":
    case "BAD_INDENT":
      return `is not valid YAML (${message.replace(/: .*/s, "")}): check indentation, colons and quotes`;
    default:
      return `is not valid YAML (${code.toLowerCase().replaceAll("_", " ")}): check indentation, colons and quotes`;
  }
}
