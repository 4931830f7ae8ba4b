import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type FlagTable, parseFlags, variableOf } from "./flags.ts";
import { describeFlags, formatUsage, redactUrl } from "./flags-text.ts";

const TABLE = {
  name: { kind: "string", default: "nobody", help: "a name" },
  "ip-masq": { kind: "bool", help: "a switch" },
  forward: { kind: "bool", default: true, help: "another switch" },
  count: { kind: "int", default: 5, help: "a number" },
  hosts: { kind: "list", default: ["a"], help: "some hosts" },
  iface: { kind: "repeatable", help: "again and again" },
  secret: { kind: "string", secret: true, help: "a secret" },
} as const satisfies FlagTable;

const parse = (args: string[], variables: Record<string, string> = {}) =>
  parseFlags(TABLE, { args, environment: { variables, prefix: "FLANNELD_" } });

function parsed(args: string[], variables?: Record<string, string>) {
  const result = parse(args, variables);
  assert.equal(result.type, "ok", JSON.stringify(result));
  return (result as Extract<typeof result, { type: "ok" }>).flags;
}

function failed(args: string[], variables?: Record<string, string>) {
  const result = parse(args, variables);
  assert.equal(result.type, "error", JSON.stringify(result));
  return result as Extract<typeof result, { type: "error" }>;
}

test("defaults when nothing is given", () => {
  assert.deepEqual(parsed([]).values, {
    name: "nobody",
    "ip-masq": false,
    forward: true,
    count: 5,
    hosts: ["a"],
    iface: [],
    secret: "",
  });
  assert.deepEqual(parsed([]).sources, {});
});

test("one or two dashes, blank or equals sign: all the same", () => {
  for (const args of [["-name", "x=y"], ["--name", "x=y"], ["-name=x=y"], ["--name=x=y"]]) {
    assert.equal(parsed(args).values.name, "x=y");
  }
});

test("bools: alone, every spelling of Go's ParseBool, never a following word", () => {
  assert.equal(parsed(["--ip-masq"]).values["ip-masq"], true);
  for (const word of ["1", "t", "T", "true", "TRUE", "True"]) {
    assert.equal(parsed([`-ip-masq=${word}`]).values["ip-masq"], true);
  }
  for (const word of ["0", "f", "F", "false", "FALSE", "False"]) {
    assert.equal(parsed([`--forward=${word}`]).values.forward, false);
  }
  assert.deepEqual(parsed(["--ip-masq", "false"]).positional, ["false"]);
  assert.match(failed(["--ip-masq=yes"]).message, /^--ip-masq: "yes" is neither true nor false$/);
});

test("lists split at commas, repeatable flags collect, other flags take the last", () => {
  const { values } = parsed(["-hosts", "b, c,,d", "-iface=e0", "-iface", "e,1", "-count=1", "-count=-2"]);
  assert.deepEqual(values.hosts, ["b", "c", "d"]);
  assert.deepEqual(values.iface, ["e0", "e,1"]);
  assert.equal(values.count, -2);
});

test("-- ends the flags, words between flags are positional", () => {
  const flags = parsed(["h1", "--count", "3", "--", "ls", "--count"]);
  assert.deepEqual(flags.positional, ["h1"]);
  assert.deepEqual(flags.rest, ["ls", "--count"]);
});

test("an unknown flag is an error that names the nearest one and does not repeat the value", () => {
  assert.deepEqual(failed(["--secert=hunter2"]), {
    type: "error",
    message: "unknown flag --secert (did you mean --secret?)",
  });
  for (const arg of ["--constructor", "--toString=1"]) {
    assert.match(failed([arg]).message, /^unknown flag --(constructor|toString)$/, arg);
  }
  for (const arg of ["---name", "--=x", "-="])
    assert.match(failed([arg]).message, /^bad flag syntax: -/, arg);
});

test("a missing value is an error at the end and before another flag", () => {
  assert.equal(failed(["--name"]).message, "--name needs a value, but nothing follows it");
  const error = failed(["--count", "--secret=hunter2"]);
  assert.equal(error.message, "--count needs a value, but --secret follows it");
  assert.equal(parsed(["--count", "-3"]).values.count, -3);
});

test("numbers must be whole", () => {
  for (const text of ["x", "", "1.5", "1e3", "9007199254740993"]) {
    assert.match(failed([`--count=${text}`]).message, /^--count: ".*" is not a whole number$/);
  }
});

test("help is requested with -h or --help", () => {
  assert.deepEqual(parse(["-h"]), { type: "help" });
  assert.deepEqual(parse(["--help"]), { type: "help" });
});

test("environment: every flag, below the command line, empty means unset, errors name the variable", () => {
  assert.equal(variableOf("FLANNELD_", "etcd-endpoints"), "FLANNELD_ETCD_ENDPOINTS");
  const variables = {
    FLANNELD_IP_MASQ: "true",
    FLANNELD_NAME: "env",
    FLANNELD_IFACE: "e0",
    FLANNELD_COUNT: "",
  };
  const flags = parsed(["--name=arg"], variables);
  assert.equal(flags.values.name, "arg");
  assert.equal(flags.values["ip-masq"], true);
  assert.equal(flags.values.count, 5);
  assert.deepEqual(flags.values.iface, ["e0"]);
  assert.deepEqual(flags.sources, { name: "--name", "ip-masq": "FLANNELD_IP_MASQ", iface: "FLANNELD_IFACE" });
  assert.deepEqual(parsed(["--iface=e1"], variables).values.iface, ["e1"]);
  assert.match(
    failed([], { FLANNELD_COUNT: "many" }).message,
    /^FLANNELD_COUNT: "many" is not a whole number$/,
  );
  assert.deepEqual(parsed([], { FLANNELD_NAMES: "x", HOME: "/" }).unknownVariables, ["FLANNELD_NAMES"]);
});

test("no argument list makes the parser throw", () => {
  const argument = fc.oneof(fc.string(), fc.constantFrom("--", "-", "--name", "-ip-masq="));
  fc.assert(fc.property(fc.array(argument), (args) => void parse(args)));
});

test("usage names every flag and its default", () => {
  const usage = formatUsage(TABLE, { heading: "Usage: x [flags]" });
  assert.match(usage, /^Usage: x \[flags\]\n/);
  for (const name of Object.keys(TABLE)) assert.ok(usage.includes(`--${name}`));
  assert.match(usage, /a number \(default 5\)/);
  assert.match(usage, /again and again \(repeatable\)/);
});

test("usage has groups, variables and examples", () => {
  const usage = formatUsage(
    { ...TABLE, o: { kind: "string", commandLineOnly: true, help: "a format" } },
    {
      heading: "usage: x",
      groups: [{ title: "Hosts", names: ["hosts", "iface", "not-in-this-table"] }],
      environment: { prefix: "X_" },
      examples: [{ text: "count to seven", line: "x --count=7" }],
      notes: ["See x(8)."],
    },
  );
  const [plain, hosts, examples, notes] = usage.split("\n\n").slice(1);
  assert.match(plain!, /^ {2}--name string {2}\[X_NAME\]\n {8}a name \(default nobody\)\n/);
  assert.match(plain!, /^ {2}-o string\n/m);
  assert.match(
    hosts!,
    /^Hosts:\n {2}--hosts list {2}\[X_HOSTS\]\n.*\n {2}--iface repeatable {2}\[X_IFACE\]\n/,
  );
  assert.equal(examples, "Examples:\n  # count to seven\n  x --count=7");
  assert.equal(notes, "See x(8).\n");
});

test("a file has the last word: after the command line and the environment; lists are not joined", () => {
  const file = [
    { name: "name", texts: ["of-file"], source: "f.yaml:1" },
    { name: "count", texts: ["7"], source: "f.yaml:2" },
    { name: "iface", texts: ["eth0", "eth1"], source: "f.yaml:3" },
    { name: "not-in-this-table", texts: ["x"], source: "f.yaml:4" },
  ];
  const read = (args: string[], variables: Record<string, string> = {}) => {
    const result = parseFlags(TABLE, { args, environment: { variables, prefix: "X_" }, file });
    assert.equal(result.type, "ok");
    return (result as Extract<typeof result, { type: "ok" }>).flags;
  };
  const plain = read([]);
  assert.deepEqual(
    [plain.values.name, plain.values.count, plain.values.iface],
    ["of-file", 7, ["eth0", "eth1"]],
  );
  assert.deepEqual(plain.sources, { name: "f.yaml:1", count: "f.yaml:2", iface: "f.yaml:3" });
  const over = read(["--name=of-args", "--iface=eth9"], { X_NAME: "of-env", X_COUNT: "8" });
  assert.deepEqual([over.values.name, over.values.count, over.values.iface], ["of-args", 8, ["eth9"]]);
  assert.deepEqual(over.sources, { name: "--name", count: "X_COUNT", iface: "--iface" });
});

test("a flag of the command line only comes from nowhere else", () => {
  const table = { o: { kind: "string", default: "text", commandLineOnly: true, help: "a format" } } as const;
  const source = { name: "o", texts: ["json"], source: "f.yaml:1" };
  const result = parseFlags(table, {
    ...{ args: [], file: [source] },
    environment: { variables: { X_O: "json" }, prefix: "X_" },
  });
  assert.equal(result.type === "ok" && result.flags.values.o, "text");
  assert.deepEqual(result.type === "ok" && result.flags.unknownVariables, ["X_O"]);
});

test("W11 the description shows what was given and no secret", () => {
  assert.equal(describeFlags(TABLE, parsed([])), "all flags at their defaults");
  const flags = parsed(["--secret=hunter2", "--hosts=http://u:hunter2@h1:1,h2"], { FLANNELD_NAME: "n" });
  const text = describeFlags(TABLE, flags);
  assert.equal(text, "name=n (FLANNELD_NAME) hosts=http://[redacted]@h1:1,h2 secret=[redacted]");
  assert.equal(redactUrl("https://u:p/w@x@h:2379"), "https://[redacted]@h:2379");
});

test("F15 quotes around a value are removed and reported, inner and single ones stay", () => {
  const given = (args: string[], variables?: Record<string, string>) => {
    const { values, notes } = parsed(args, variables);
    return { values, notes };
  };
  const quoted = given(["--count='7'", '--ip-masq="true"', '--iface="eth0"', "--iface", "' eth1 '"], {
    FLANNELD_NAME: "\"'x'\"",
    FLANNELD_HOSTS: '"a, b"',
  });
  assert.deepEqual(
    [
      quoted.values.count,
      quoted.values["ip-masq"],
      quoted.values.iface,
      quoted.values.name,
      quoted.values.hosts,
    ],
    [7, true, ["eth0", "eth1"], "x", ["a", "b"]],
  );
  assert.deepEqual(quoted.notes.toSorted(), [
    "--count: removed the quotes around the value; leave them out",
    "--iface: removed the quotes around the value; leave them out",
    "--iface: removed the quotes around the value; leave them out",
    "--ip-masq: removed the quotes around the value; leave them out",
    "FLANNELD_HOSTS: removed the quotes around the value; leave them out",
    "FLANNELD_NAME: removed the quotes around the value; leave them out",
  ]);
  const plain = given(["--name=o'neil", '--iface="', "--hosts=a, b"]);
  assert.deepEqual([plain.values.name, plain.values.iface, plain.notes], ["o'neil", ['"'], []]);
  assert.equal(given([], { FLANNELD_COUNT: '""' }).values.count, 5);
  assert.equal(given([], { FLANNELD_COUNT: " 8\r" }).values.count, 8);
});

test("F15 a secret keeps its quotes and spaces", () => {
  const { values, notes } = parsed(['--secret="hunter2" ']);
  assert.deepEqual([values.secret, notes], ['"hunter2" ', []]);
});
