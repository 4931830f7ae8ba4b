import assert from "node:assert/strict";
import { test } from "node:test";
import { defineCommand, defineGroup } from "../config/command.ts";
import { COMPLETIONS, completionCommand } from "./completion-command.ts";
import { type ManPageText, manPage } from "./man-page.ts";
import { programOf, takesFile, valueKindOf } from "./program-tree.ts";
import { FLANNELD, FLANNELD_PAGE } from "./programs.ts";

const list = defineCommand({
  summary: "list them (it's cheap)",
  synopsis: "[flags]",
  flags: {
    o: { kind: "string", value: "format", default: "table", choices: ["table", "json"], help: "the format" },
    watch: { kind: "bool", help: "and every change [until Ctrl-C]: one a line" },
    cafile: { kind: "string", value: "file", help: "an authority" },
    iface: { kind: "repeatable", value: "interface", help: "the way out" },
  },
  groups: [{ title: "Access", names: ["cafile"] }],
  environment: { prefix: "X_", variables: {} },
  async run() {
    return 0;
  },
});
const set = defineCommand({
  ...{
    summary: 'set one ("-" = standard input)',
    synopsis: "FILE [--force]",
    flags: {},
    takes: { words: ["FILE"] },
  },
  examples: [{ text: "from a file", line: "x.json" }],
  async run() {
    return 0;
  },
});
const tool = programOf(
  "tool",
  defineGroup("tool: keeps things.", { things: defineGroup("Things.", { list, set }, { standard: "list" }) }),
);

const PAGE: ManPageText = {
  ...{ section: 8, date: "2026-11-28", version: "v1", seeAlso: ["other(8)"] },
  description: [".a paragraph that begins with a dot, and has “quotes” and a back\\slash"],
  sections: [{ title: "FILES", items: [["/etc/tool", "Settings."]] }],
};

test("the tree of a program: groups, the flags that work without a command's name, values", () => {
  assert.deepEqual(
    tool.nodes.map(({ words }) => words.join(" ")),
    ["", "things", "things list", "things set"],
  );
  assert.deepEqual(Object.keys(tool.nodes[1]!.flags), ["o", "watch", "cafile", "iface"]);
  assert.deepEqual(Object.values(tool.nodes[2]!.flags).map(valueKindOf), [
    ["table", "json"],
    undefined,
    "file",
    "interface",
  ]);
  assert.deepEqual(tool.nodes.map(takesFile), [false, false, false, true]);
});

test("each shell's script has every command, flag and choice", () => {
  for (const [shell, complete] of Object.entries(COMPLETIONS)) {
    const script = complete(tool);
    for (const text of ["things", "list", "set", "watch", "cafile", "table", "json", "iface"]) {
      assert.ok(script.includes(text), `${shell}: ${text}`);
    }
    const whole = complete(FLANNELD);
    for (const name of Object.keys(FLANNELD.nodes[0]!.flags))
      assert.ok(whole.includes(name), `${shell}: ${name}`);
  }
});

test("the man page has every flag with its variable, in groups, and escapes what roff takes for its own", () => {
  const page = manPage(tool, PAGE);
  assert.match(page, /^\.TH TOOL 8 2026-11-28 "flannel\\-ts v1" "System Administration"\n/);
  assert.match(page, /\n\\&\.a paragraph .* \\\[u201C\]quotes\\\[u201D\] and a back\\eslash\n/);
  assert.match(page, /\n\\&\.a paragraph .* \\\[u201C\]quotes\\\[u201D\] and a back\\eslash\n/);
  assert.match(page, /\n\.SS "tool things set FILE \[\\-\\-force\]"\n/);
  assert.match(page, /\n\.B \\-\\-watch\n/);
  const flanneld = manPage(FLANNELD, { ...FLANNELD_PAGE, date: "2026-11-28", version: "v1" });
  assert.match(
    flanneld,
    /\n\.SS "External interface"\n\.TP\n\.B \\-\\-iface \\fIinterface\\fR\n.*\[FLANNELD_IFACE\]\n/,
  );
  for (const name of Object.keys(FLANNELD.nodes[0]!.flags)) {
    const dashes = name.length === 1 ? "\\-" : "\\-\\-";
    assert.ok(flanneld.includes(`.B ${dashes}${name.replaceAll("-", "\\-")}`), name);
  }
});

test("completion prints the script of a shell, and names those it knows", async () => {
  const lines: string[] = [];
  const context = { program: "tool", print: (line: string) => void lines.push(line), printError() {} };
  const command = completionCommand(() => [tool]);
  assert.equal(await command.run(["bash"], context, "tool completion"), 0);
  assert.match(lines.join("\n"), /complete -F _tool tool$/);
  await assert.rejects(
    command.run(["csh"], context, "tool completion"),
    /"csh" is no shell known here: use bash, zsh, fish/,
  );
});
