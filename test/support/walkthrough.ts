/**
 * Walkthroughs as data: the commands of a page with the output that it promises. A block marked "console" is a terminal:
 *
 *     root@node01:~# etcdctl get /a          a command, for that host; it goes on after "\" and to the end of a here-document
 *     /a                                     what it prints
 *
 * In the output "…" is any text, a line "…" any lines. Addresses of the page's network stand for those that the hosts
 * get: the same one each time, also in commands.
 */

import { readFileSync } from "node:fs";

export interface Step {
  readonly host: string;
  readonly command: string;
  /** Lines, without the last line end. */
  readonly output: string;
  /** Of the command, from 1. */
  readonly line: number;
}

const PROMPT = /^root@(\w+):~# (.*)$/;

/** The steps of a page, in order. Throws with the line of a block that does not begin with a prompt. */
export function readSteps(path: string): readonly Step[] {
  const lines = readFileSync(path, "utf8").split("\n");
  const steps: Step[] = [];
  let isTerminal = false;
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index]!;
    if (/^```/.test(line)) {
      isTerminal = line === "```console";
      if (isTerminal && !PROMPT.test(lines[index + 1] ?? ""))
        throw new Error(`${path}:${index + 2}: no prompt`);
    } else if (isTerminal) {
      const prompt = PROMPT.exec(line);
      const last = steps.at(-1);
      if (prompt === null) {
        steps[steps.length - 1] = {
          ...last!,
          output: last!.output === "" ? line : `${last!.output}\n${line}`,
        };
        continue;
      }
      const number = index + 1;
      let command = prompt[2]!;
      const end = /<<'?(\w+)'?/.exec(command)?.[1];
      while (end === undefined ? command.endsWith("\\") : !command.endsWith(`\n${end}`)) {
        command += `\n${lines[++index]!}`;
      }
      steps.push({ host: prompt[1]!, command, output: "", line: number });
    }
  }
  return steps;
}

/** Which subnets the hosts have got, by those that the page names: "10.8.71." → "10.8.23.". */
export class Addresses {
  readonly #actual = new Map<string, string>();
  /** "10.8." and the like: what all addresses of the page's network begin with. */
  readonly #network: string;

  constructor(network: string) {
    this.#network = network;
  }

  /** A command with the addresses that the hosts have. */
  in(command: string): string {
    return command.replace(this.#pattern(), (_, subnet: string) => this.#actual.get(subnet) ?? subnet);
  }

  /** Whether `actual` is what `expected` promises; learns which subnet is which if it is. */
  fits(expected: string, actual: string): boolean {
    const names: string[] = [];
    const subnetSource = (subnet: string): string => {
      const known = this.#actual.get(subnet);
      if (known !== undefined) return RegExp.escape(known);
      const index = names.indexOf(subnet);
      if (index >= 0) return `\\k<s${index}>`;
      return `(?<s${names.push(subnet) - 1}>${RegExp.escape(this.#network)}\\d+\\.)`;
    };
    const lineSource = (line: string): string => {
      if (line === "…") return "(?:.*\n)*?";
      const parts = line.split("…").map((part) => part.split(this.#pattern()));
      return `${parts.map((tokens) => tokens.map((token, index) => (index % 2 ? subnetSource(token) : RegExp.escape(token))).join("")).join(".*")}\n`;
    };
    const lines = expected === "" ? [] : expected.split("\n");
    const printed = actual === "" ? "" : `${actual}\n`;
    const match = new RegExp(`^${lines.map(lineSource).join("")}$`).exec(printed);
    if (match === null) return false;
    for (const [index, name] of names.entries()) this.#actual.set(name, match.groups![`s${index}`]!);
    return true;
  }

  #pattern(): RegExp {
    return new RegExp(`(?<![\\d.])(${RegExp.escape(this.#network)}(?!0\\.)\\d+\\.)(?=\\d)`, "g");
  }
}
