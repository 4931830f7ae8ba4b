import assert from "node:assert/strict";
import { test } from "node:test";
import { defineCommand, defineGroup } from "./command.ts";

const flags = { count: { kind: "int", default: 1, help: "how many" } } as const;
const group = defineGroup("A tool.", {
  add: defineCommand({
    summary: "add things",
    synopsis: "[flags]",
    flags,
    async run({ values }, { print }) {
      print(`added ${values.count}`);
      return 0;
    },
  }),
  run: defineCommand({
    summary: "run a thing",
    synopsis: "<place> -- command",
    flags: {},
    takes: { words: true, rest: true },
    async run({ positional, rest }, { print }) {
      print(`${positional} / ${rest}`);
      return 7;
    },
  }),
  more: defineGroup("More.", {
    deep: defineCommand({ summary: "dig", synopsis: "", flags: {}, run: async () => 0 }),
  }),
});

function record() {
  const out: string[] = [];
  const err: string[] = [];
  const context = {
    program: "bin/tool",
    print: (line: string) => void out.push(line),
    printError: (line: string) => void err.push(line),
  };
  return { context, out, err };
}

async function call(...args: string[]) {
  const { context, out, err } = record();
  const code = await group.run(args, context, "bin/tool");
  return { code, out: out.join("\n"), err: err.join("\n") };
}

test("runs the command with its flags and returns its exit code", async () => {
  assert.deepEqual(await call("add", "--count=3"), { code: 0, out: "added 3", err: "" });
  assert.deepEqual(await call("run", "h1", "--", "ls", "-l"), { code: 7, out: "h1 / ls,-l", err: "" });
});

test("usage errors name the problem and the help command, and exit with 2", async () => {
  const cases: [string[], RegExp][] = [
    [[], /^A tool\.\nusage: bin\/tool <command>/],
    [["nope"], /^unknown command "nope"; bin\/tool knows: add, run, more, help$/],
    [["toString"], /^unknown command/],
    [["help", "nope"], /^unknown command "nope"/],
    [["more", "nope"], /^unknown command "nope"; bin\/tool more knows: deep, help$/],
    [["add", "--count=x"], /^--count: "x" is not a whole number; see bin\/tool add --help$/],
    [["add", "--nope"], /^unknown flag --nope; see bin\/tool add --help$/],
    [["add", "word"], /^"word" belongs to no flag/],
    [["add", "--", "word"], /^"word" belongs to no flag/],
  ];
  for (const [args, message] of cases) {
    const { code, out, err } = await call(...args);
    assert.equal(code, 2, args.join(" "));
    assert.equal(out, "");
    assert.match(err, message);
  }
});

test("prints the help of the tool, of a group and of a command, in each spelling", async () => {
  for (const args of [["help"], ["--help"], ["-h"]]) {
    assert.match((await call(...args)).out, /add {3}add things/);
  }
  for (const args of [
    ["help", "more", "deep"],
    ["more", "help", "deep"],
    ["more", "deep", "--help"],
  ]) {
    assert.deepEqual(await call(...args), { code: 0, out: "dig\nusage: bin/tool more deep", err: "" });
  }
  assert.match((await call("help", "add")).out, /^add things\nusage: bin\/tool add \[flags\]\n {2}--count/);
});

test("requires exactly the named words; flags may come from the environment", async () => {
  const command = defineCommand({
    summary: "keep a thing",
    synopsis: "THING PLACE",
    flags,
    takes: { words: ["THING", "PLACE"] },
    environment: { prefix: "TOOL_", variables: { TOOL_COUNT: "3" } },
    async run({ values, positional }, { print }) {
      print(`${positional.join(" ")} ${values.count}`);
      return 0;
    },
  });
  const { context, out, err } = record();
  assert.equal(await command.run(["cup", "shelf"], context, "tool keep"), 0);
  assert.deepEqual(out, ["cup shelf 3"]);
  assert.equal(await command.run(["cup"], context, "tool keep"), 2);
  assert.equal(await command.run(["cup", "shelf", "door"], context, "tool keep"), 2);
  assert.deepEqual(err, [
    "PLACE is missing; see tool keep --help",
    '"door" belongs to no flag; see tool keep --help',
  ]);
});

test("a group may have a default command", async () => {
  const list = defineCommand({
    summary: "list them",
    synopsis: "",
    flags,
    async run({ values }, { print }) {
      print(`listed ${values.count}`);
      return 0;
    },
  });
  const things = defineGroup("Things.", { list }, { standard: "list" });
  const { context, out, err } = record();
  for (const args of [[], ["--count=2"], ["list", "--count=3"]]) {
    assert.equal(await things.run(args, context, "tool things"), 0);
  }
  assert.deepEqual(out, ["listed 1", "listed 2", "listed 3"]);
  assert.equal(await things.run(["what"], context, "tool things"), 2);
  assert.match(err[0]!, /unknown command "what"; tool things knows: list, help/);
  assert.equal(await things.run(["--help"], context, "tool things"), 0);
  assert.match(out.at(-1)!, /list {2}list them \(also without "list"\)/);
});
