import assert from "node:assert/strict";
import { test } from "node:test";
import { CniError } from "./cni-error.ts";
import { COMMANDS, readParameters } from "./parameters.ts";
import { checkVersion, SUPPORTED_VERSIONS } from "./versions.ts";

const ALL = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "4f2a-b.c_d",
  CNI_NETNS: "/run/netns/x",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin:/usr/lib/cni:",
};

/** "4 message; details" of the error. */
function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof CniError);
    return `${error.cniCode} ${error.message}; ${error.details}`;
  }
  return "nothing";
}

test("reads all parameters", () => {
  assert.deepEqual(readParameters(ALL), {
    command: "ADD",
    attachment: { containerId: "4f2a-b.c_d", ifName: "eth0" },
    netns: "/run/netns/x",
    pluginPath: ["/opt/cni/bin", "/usr/lib/cni"],
    allowsOwnNetns: false,
  });
  for (const [value, allows] of [
    ["1", true],
    ["TRUE", true],
    ["true", true],
    ["0", false],
    ["10", false],
  ] as const) {
    assert.equal(readParameters({ ...ALL, CNI_NETNS_OVERRIDE: value }).allowsOwnNetns, allows);
  }
});

test("names all variables that a command requires and that are missing or empty", () => {
  const missing = (command: string) =>
    /\[(.*)\]/.exec(refusal(() => readParameters({ CNI_COMMAND: command, CNI_IFNAME: "" })))?.[1];
  assert.deepEqual(Object.fromEntries(COMMANDS.map((command) => [command, missing(command)])), {
    ADD: "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH",
    DEL: "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH",
    CHECK: "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH",
    STATUS: "CNI_PATH",
    GC: "CNI_PATH",
    VERSION: undefined,
  });
});

test("a container ID contains no path, and an interface's name is valid for the kernel", () => {
  for (const id of ["../x", "a/b", ".x", "-x", "_x", "a b", "a:b", "é", "a\n"]) {
    assert.match(
      refusal(() => readParameters({ ...ALL, CNI_CONTAINERID: id })),
      /^4 invalid characters in CNI_CONTAINERID; "/,
    );
  }
  for (const name of [".", "..", "a/b", "a:b", "a b", "a\u00a0b"]) {
    assert.match(
      refusal(() => readParameters({ ...ALL, CNI_IFNAME: name })),
      /^4 CNI_IFNAME cannot be/,
    );
  }
  assert.match(
    refusal(() => readParameters({ ...ALL, CNI_IFNAME: "a".repeat(16) })),
    /^4 CNI_IFNAME is too long; .*at most 15 bytes/,
  );
  assert.equal(readParameters({ ...ALL, CNI_IFNAME: "a".repeat(15) }).attachment.ifName.length, 15);
});

test("F24 a name that the kernel, ip(8) or a terminal could misread reaches no delegate", () => {
  for (const ifName of [
    "-eth0",
    "eth%d",
    "%d",
    "a\u0001",
    "a\u001b[2J",
    "a\u007f",
    "a\u009b",
    "à",
    "a\n",
    "a\tb",
  ]) {
    for (const command of ["ADD", "CHECK"]) {
      assert.match(
        refusal(() => readParameters({ ...ALL, CNI_COMMAND: command, CNI_IFNAME: ifName })),
        /^4 CNI_IFNAME cannot be an interface's name; "/,
        JSON.stringify(ifName),
      );
    }
  }
  for (const ifName of ["eth0", "net1.100", "e-0", "ü", "a_b@c"]) {
    assert.equal(readParameters({ ...ALL, CNI_IFNAME: ifName }).attachment.ifName, ifName);
  }
});

test("F24 DEL takes what libcni takes: another plugin may have added it", () => {
  for (const ifName of ["-eth0", "eth%d", "a\u0001"]) {
    assert.equal(
      readParameters({ ...ALL, CNI_COMMAND: "DEL", CNI_IFNAME: ifName }).attachment.ifName,
      ifName,
    );
  }
  assert.match(
    refusal(() => readParameters({ ...ALL, CNI_COMMAND: "DEL", CNI_IFNAME: "a/b" })),
    /^4 CNI_IFNAME/,
  );
});

test("F24 control characters in the namespace's path and in CNI_ARGS, an ID that no file can have", () => {
  for (const [name, value] of [
    ["CNI_NETNS", "/run/netns/a\nb"],
    ["CNI_NETNS", "-n"],
    ["CNI_ARGS", "K8S_POD_NAME=a\u0007"],
  ] as const) {
    assert.match(
      refusal(() => readParameters({ ...ALL, [name]: value })),
      new RegExp(`^4 invalid characters in ${name}; "`),
    );
  }
  const long = { ...ALL, CNI_CONTAINERID: "a".repeat(251) };
  assert.match(
    refusal(() => readParameters(long)),
    /^4 CNI_CONTAINERID is too long; 251 characters; at most 239/,
  );
  assert.equal(readParameters({ ...long, CNI_COMMAND: "DEL" }).attachment.containerId.length, 251);
});

test("an unknown command is reported with the known ones", () => {
  assert.match(
    refusal(() => readParameters({ ...ALL, CNI_COMMAND: "add" })),
    /^4 unknown CNI_COMMAND: add; .*ADD, DEL, CHECK/,
  );
});

test("versions and the commands that they introduced", () => {
  const allows = (command: string) =>
    SUPPORTED_VERSIONS.filter((version) => refusal(() => checkVersion(version, command)) === "nothing");
  assert.deepEqual(allows("ADD"), SUPPORTED_VERSIONS);
  assert.deepEqual(allows("DEL"), SUPPORTED_VERSIONS);
  assert.deepEqual(allows("CHECK"), ["0.4.0", "1.0.0", "1.1.0"]);
  assert.deepEqual(allows("STATUS"), ["1.1.0"]);
  assert.deepEqual(allows("GC"), ["1.1.0"]);
  assert.match(
    refusal(() => checkVersion("2.0.0", "ADD")),
    /^1 incompatible CNI versions; config is "2\.0\.0", plugin supports 0\.1\.0, .*1\.1\.0$/,
  );
  assert.match(
    refusal(() => checkVersion("0.3.1", "CHECK")),
    /^1 config version does not allow CHECK;/,
  );
});
