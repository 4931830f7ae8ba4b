/**
 * The dependency directions of docs/ARCHITECTURE.md, as a table of who may import whom, and why not others.
 * Reads the sources as text; tests and benchmarks beside the sources may import more.
 */

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const src = join(root, "src");

/** What each folder may import besides itself and `base`. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  address: [],
  netlink: ["address"],
  packet: ["address"],
  config: ["address"],
  // What etcd's client (lease/etcd) and the server (etcd-server) both speak: generated from etcd's protocol.
  "etcd-api": [],
  lease: ["address", "config", "etcd-api"],
  // Programs of their own: a server knows its protocol, and nothing of the daemon that it may serve.
  "etcd-server": ["config", "etcd-api"],
  "kube-server": [],
  state: ["address", "netlink"],
  firewall: ["address"],
  backend: ["address", "config", "lease", "state"],
  // A thread of its own behind the reconciler's port; what it needs of the system comes in through ports.
  datapath: ["address", "packet", "state"],
  // The CNI plugin is a program of its own that every start of a container waits for: it drags in nothing of the daemon.
  cni: ["address", "config"],
  admin: ["address", "config", "lease", "backend"],
  status: ["address"],
  // Runs in the image only: the plugin's files onto the host.
  install: [],
  agent: ["address", "netlink", "config", "lease", "state", "firewall", "backend", "status"],
  operate: ["address", "netlink", "config", "lease", "state", "firewall", "backend", "agent", "admin"],
  linux: ["address", "packet", "datapath", "netlink", "state", "firewall"],
  // The pods of a lab's Kubernetes are made as a container runtime makes them.
  lab: ["address", "config", "lease", "netlink", "cni", "linux", "kube-server"],
  testing: ["address", "packet", "datapath", "netlink", "config", "lease", "state", "firewall"],
  cmd: [
    "address",
    "netlink",
    "config",
    "lease",
    "etcd-server",
    "state",
    "firewall",
    "backend",
    "datapath",
    "status",
    "agent",
    "admin",
    "operate",
    "install",
    "cni",
    "linux",
    "lab",
  ],
};

/** Folders that are functions of their inputs: no system, no clock, no chance; tested without any of them. */
const PURE = ["address", "netlink", "packet", "state", "backend", "datapath"];

const FORBIDDEN_TEXT: readonly { readonly pattern: RegExp; readonly reason: string }[] = [
  { pattern: /from "node:/, reason: "a pure folder takes the system through a port" },
  { pattern: /\b(?:Date\.now|performance\.now|new Date\()/, reason: "a pure folder is told the time" },
  { pattern: /\bMath\.random|\bcrypto\./, reason: "a pure folder is handed its chance" },
  { pattern: /\bprocess\./, reason: "a pure folder knows no process" },
  { pattern: /\bconsole\./, reason: "what has to be said goes through the injected logger" },
];

const sources = globSync("**/*.ts", { cwd: src })
  .filter((file) => !/\.(test|bench)\.ts$/.test(file))
  .sort();

const folderOf = (file: string): string => file.split("/")[0]!;
const importsOf = (text: string): string[] =>
  [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]!);

test("every folder of src has its place in the table", () => {
  assert.deepEqual(
    [...new Set(sources.map(folderOf))].filter((folder) => !(folder in MAY_IMPORT)),
    [],
  );
});

for (const [folder, allowed] of Object.entries(MAY_IMPORT)) {
  test(`${folder} imports only ${["base", ...allowed].join(", ")}`, () => {
    const wrong: string[] = [];
    for (const file of sources.filter((name) => folderOf(name) === folder)) {
      for (const imported of importsOf(readFileSync(join(src, file), "utf8"))) {
        if (!imported.startsWith(".")) continue;
        const target = folderOf(relative(src, normalize(join(src, dirname(file), imported))));
        if (target !== folder && target !== "base" && !allowed.includes(target)) {
          wrong.push(`src/${file} imports ${imported}`);
        }
      }
    }
    assert.deepEqual(wrong, []);
  });
}

for (const folder of PURE) {
  test(`${folder} is pure`, () => {
    const wrong: string[] = [];
    for (const file of sources.filter((name) => folderOf(name) === folder)) {
      const code = readFileSync(join(src, file), "utf8")
        .split("\n")
        .filter((line) => !/^\s*(?:\*|\/\/|\/\*)/.test(line))
        .join("\n");
      for (const { pattern, reason } of FORBIDDEN_TEXT) {
        if (pattern.test(code)) wrong.push(`src/${file}: ${pattern} (${reason})`);
      }
    }
    assert.deepEqual(wrong, []);
  });
}

test("backends never import each other", () => {
  const shared = [
    "backend.ts",
    "direct-route.ts",
    "families.ts",
    "members.ts",
    "peer-problems.ts",
    "plan-peers.ts",
    "subnet-claims.ts",
  ];
  const wrong: string[] = [];
  for (const file of sources.filter(
    (name) => folderOf(name) === "backend" && !name.endsWith("/backends.ts"),
  )) {
    for (const imported of importsOf(readFileSync(join(src, file), "utf8"))) {
      if (imported.startsWith("./") && !shared.includes(imported.slice(2)))
        wrong.push(`src/${file} imports ${imported}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("only src/linux calls into C", () => {
  const wrong = sources.filter(
    (file) =>
      folderOf(file) !== "linux" && importsOf(readFileSync(join(src, file), "utf8")).includes("koffi"),
  );
  assert.deepEqual(wrong, []);
});

test("no source is longer than 300 lines without a stated reason", () => {
  const long = sources.filter((file) => {
    const text = readFileSync(join(src, file), "utf8");
    return (
      !file.endsWith("_pb.ts") &&
      text.split("\n").length > 301 &&
      !/^ \* Longer than 300 lines because /m.test(text)
    );
  });
  assert.deepEqual(long, []);
});
