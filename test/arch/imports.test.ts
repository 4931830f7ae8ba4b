/**
 * The dependency directions of docs/ARCHITECTURE.md, as a table of who may import whom, and why not others.
 * Reads the sources as text; tests and benchmarks beside the sources may import more.
 */

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const src = join(root, "src");

type Table = Readonly<Record<string, readonly string[]>>;

/** What each folder may import besides itself and `base`. Bottom up: a folder imports only those above it here. */
const MAY_IMPORT: Table = {
  base: [],
  address: [],
  netlink: ["address"],
  packet: [],
  config: ["address"],
  // What etcd's client (lease/etcd) and the server (etcd-server) both speak: generated from etcd's protocol.
  "etcd-api": [],
  lease: ["address", "config", "etcd-api"],
  // Programs of their own: a server knows its protocol, and nothing of the daemon that it may serve.
  "etcd-server": ["config", "etcd-api"],
  "kube-server": [],
  "aws-server": ["address"],
  state: ["address", "netlink"],
  firewall: ["address"],
  // Network policies as a filter of nftables.
  policy: ["address", "firewall"],
  backend: ["address", "config", "lease", "state"],
  // What happened and what it was planned from, replayed on a kernel in memory.
  recorder: ["address", "config", "lease", "backend", "state"],
  // A thread of its own behind the reconciler's port; what it needs of the system comes in through ports.
  datapath: ["address", "packet", "state"],
  // The CNI plugin is a program of its own that every start of a container waits for: it drags in nothing of the daemon.
  cni: ["address", "config"],
  admin: ["address", "config", "lease", "backend"],
  // Whom to probe next, and what the answers mean; sockets and clock come in through ports.
  probe: ["address"],
  status: ["address"],
  // Network policies on a node: a part of its own beside the agent that makes the network.
  "policy-agent": ["address", "netlink", "config", "lease", "firewall", "policy", "status"],
  // Runs in the image only: the plugin's files onto the host.
  install: [],
  // Man pages and completions, made from tables of commands and flags.
  reference: ["config"],
  agent: [
    "address",
    "netlink",
    "config",
    "lease",
    "state",
    "recorder",
    "firewall",
    "backend",
    "probe",
    "status",
  ],
  // IPsec policies of the kernel, and strongSwan's IKE daemon beside it.
  ipsec: ["address", "netlink", "state"],
  operate: [
    "address",
    "netlink",
    "config",
    "lease",
    "state",
    "recorder",
    "firewall",
    "backend",
    "status",
    "agent",
    "admin",
    "policy",
  ],
  // WireGuard peers, on devices of the kernel or of this process.
  wireguard: ["address", "packet", "netlink", "state"],
  // Commands of the operator's, for the extension backend.
  extension: ["address", "state"],
  // Routes in a cloud's route tables, over its API.
  cloud: ["address", "state"],
  linux: ["address", "packet", "datapath", "netlink", "state", "wireguard", "extension", "policy"],
  // The pods of a lab's Kubernetes are made as a container runtime makes them.
  // It checks the network config of a lab as flanneld will, before it makes any host.
  lab: [
    "address",
    "config",
    "lease",
    "backend",
    "netlink",
    "ipsec",
    "cni",
    "linux",
    "kube-server",
    "aws-server",
  ],
  // Fakes: no program imports them.
  testing: [
    "address",
    "packet",
    "datapath",
    "netlink",
    "lease",
    "state",
    "recorder",
    "probe",
    "cloud",
    "policy",
  ],
  cmd: [
    "address",
    "netlink",
    "config",
    "lease",
    "etcd-server",
    "state",
    "recorder",
    "firewall",
    "backend",
    "datapath",
    "wireguard",
    "extension",
    "cloud",
    "ipsec",
    "policy",
    "policy-agent",
    "status",
    "agent",
    "admin",
    "operate",
    "install",
    "reference",
    "cni",
    "linux",
    "lab",
  ],
};

/**
 * The same within folders that have subfolders; "." is the folder's own files. The stores know the port of `lease`, not
 * each other; `keys` is the lease store over a key-value store, which etcd and etcd2 are; etcd2 has the flags, certificates
 * and endpoints of etcd.
 */
const MAY_IMPORT_WITHIN: Readonly<Record<string, Table>> = {
  lease: { ".": [], keys: ["."], etcd: [".", "keys"], etcd2: [".", "keys", "etcd"], kube: ["."] },
  "etcd-server": {
    protocol: [],
    storage: ["protocol"],
    store: ["protocol", "storage"],
    grpc: ["protocol"],
    services: ["protocol", "store", "grpc"],
    ".": ["store", "grpc", "services"],
  },
  "kube-server": { objects: [], requests: ["objects"], ".": ["objects", "requests"] },
  lab: {
    plan: [],
    record: ["plan"],
    clusters: ["plan", "record"],
    hosts: ["plan", "record", "clusters"],
    commands: ["plan", "record", "clusters", "hosts"],
  },
};

/** Folders that are functions of their inputs: no system, no clock, no chance; tested without any of them. */
const PURE = [
  "address",
  "netlink",
  "packet",
  "state",
  "backend",
  "datapath",
  "wireguard",
  "extension",
  "probe",
  "policy",
];

const FORBIDDEN_TEXT: readonly { readonly pattern: RegExp; readonly reason: string }[] = [
  { pattern: /from "node:/, reason: "a pure folder takes the system through a port" },
  {
    pattern: /\b(?:Date\.now|performance\.now|new Date\()/,
    reason: "a pure folder receives the time as input",
  },
  { pattern: /\bMath\.random|\bcrypto\./, reason: "a pure folder receives random numbers as input" },
  { pattern: /\bprocess\./, reason: "a pure folder does not know its process" },
  { pattern: /\bconsole\./, reason: "messages go through the injected logger" },
];

interface Source {
  /** Path below src. */
  readonly file: string;
  readonly text: string;
  /** What it imports as written: "node:fs", "../base/error.ts". Types count too. */
  readonly specifiers: readonly string[];
  /** The files of src that it imports, as paths below src. */
  readonly imports: readonly string[];
}

const sources: readonly Source[] = globSync("**/*.ts", { cwd: src })
  .filter((file) => !/\.(test|bench)\.ts$/.test(file))
  .sort()
  .map((file) => {
    const text = readFileSync(join(src, file), "utf8");
    const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]!);
    const imports = specifiers
      .filter((specifier) => specifier.startsWith("."))
      .map((specifier) => normalize(join(dirname(file), specifier)));
    return { file, text, specifiers, imports };
  });

const folderOf = (file: string): string => file.split("/")[0]!;
const subfolderOf = (file: string): string => file.split("/").slice(1, -1)[0] ?? ".";

/** Imports from one place to another that is not allowed. `placeOf` gives undefined for files that the table is not about. */
function findWrongImports(
  table: Table,
  placeOf: (file: string) => string | undefined,
  place: string,
  everywhere: readonly string[] = [],
): string[] {
  const allowed = [place, ...everywhere, ...table[place]!];
  return sources
    .filter(({ file }) => placeOf(file) === place)
    .flatMap(({ file, imports }) =>
      imports
        .filter((imported) => {
          const target = placeOf(imported);
          return target !== undefined && !allowed.includes(target);
        })
        .map((imported) => `src/${file} imports src/${imported}`),
    );
}

/** Entries of a table that name a place below themselves, or none: while there are none, the table has no cycle. */
function findUpward(table: Table): string[] {
  const places = Object.keys(table);
  return places.flatMap((place, index) =>
    table[place]!.filter((target) => !places.slice(0, index).includes(target)).map(
      (target) => `${place} may import ${target}, which does not stand above it`,
    ),
  );
}

/** A circle of imports between files, as a path that ends where it began; undefined if there is none. */
function findCircle(files: readonly Pick<Source, "file" | "imports">[]): string[] | undefined {
  const importsOf = new Map(files.map(({ file, imports }) => [file, imports]));
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    path.push(file);
    for (const imported of importsOf.get(file) ?? []) {
      const circle = visit(imported);
      if (circle !== undefined) return circle;
    }
    path.pop();
    done.add(file);
    return undefined;
  };
  for (const { file } of files) {
    const circle = visit(file);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

test("every folder of src has its place in the table", () => {
  assert.deepEqual(
    [...new Set(sources.map(({ file }) => folderOf(file)))].filter((folder) => !(folder in MAY_IMPORT)),
    [],
  );
});

test("every folder of src is described in docs/ARCHITECTURE.md, as pure if it is", () => {
  const page = readFileSync(join(root, "docs/ARCHITECTURE.md"), "utf8");
  const described = [...page.matchAll(/^ {6}([a-z-]+)\/ .*?(PURE)?$/gm)].map(([, folder, pure]) => [
    folder!,
    pure,
  ]);
  assert.deepEqual(described.map(([folder]) => folder).sort(), Object.keys(MAY_IMPORT).sort());
  assert.deepEqual(
    described.flatMap(([folder, pure]) => (pure === undefined ? [] : [folder])).sort(),
    [...PURE].sort(),
  );
});

test("no folder may import upward, so that the table has no cycle", () => {
  assert.deepEqual(findUpward(MAY_IMPORT), []);
  for (const table of Object.values(MAY_IMPORT_WITHIN)) assert.deepEqual(findUpward(table), []);
});

for (const [folder, allowed] of Object.entries(MAY_IMPORT)) {
  test(`${folder} imports only ${["base", ...allowed].join(", ")}`, () => {
    assert.deepEqual(findWrongImports(MAY_IMPORT, folderOf, folder, ["base"]), []);
  });
}

for (const [folder, table] of Object.entries(MAY_IMPORT_WITHIN)) {
  const placeOf = (file: string): string | undefined =>
    folderOf(file) === folder ? subfolderOf(file) : undefined;

  test(`every subfolder of ${folder} has its place in its table`, () => {
    const places = new Set(sources.map(({ file }) => placeOf(file)).filter((place) => place !== undefined));
    assert.deepEqual([...places].sort(), Object.keys(table).sort());
  });

  for (const place of Object.keys(table)) {
    test(`within ${folder}, ${place} imports only ${table[place]!.join(", ") || "itself"}`, () => {
      assert.deepEqual(findWrongImports(table, placeOf, place), []);
    });
  }
}

test("no circle of imports between files, not even of types", () => {
  assert.equal(findCircle(sources)?.join(" → "), undefined);
});

test("the search for circles finds them, behind others and through a diamond", () => {
  const files = (graph: Record<string, string[]>) =>
    Object.entries(graph).map(([file, imports]) => ({ file, imports }));
  assert.deepEqual(findCircle(files({ a: ["b", "c"], b: ["d"], c: ["d"], d: [] })), undefined);
  assert.deepEqual(findCircle(files({ a: ["b", "c"], b: ["d"], c: ["d"], d: ["c"] })), ["d", "c", "d"]);
});

for (const folder of PURE) {
  test(`${folder} is pure`, () => {
    const wrong: string[] = [];
    for (const { file, text } of sources.filter((source) => folderOf(source.file) === folder)) {
      const code = text
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
    "cloud-members.ts",
    "cloud-routes.ts",
    "direct-route.ts",
    "families.ts",
    "members.ts",
    "peer-problems.ts",
    "plan-peers.ts",
    "subnet-claims.ts",
  ];
  const wrong = sources
    .filter(({ file }) => folderOf(file) === "backend" && !file.endsWith("/backends.ts"))
    .flatMap(({ file, specifiers }) =>
      specifiers
        .filter((specifier) => specifier.startsWith("./") && !shared.includes(specifier.slice(2)))
        .map((specifier) => `src/${file} imports ${specifier}`),
    );
  assert.deepEqual(wrong, []);
});

test("the CNI plugin's engine finds no module of Node.js to load", () => {
  const byFile = new Map(sources.map((source) => [source.file, source]));
  const reached = new Set(["cmd/cni-engine.ts"]);
  for (const file of reached) for (const imported of byFile.get(file)!.imports) reached.add(imported);
  assert.ok(reached.has("cni/stored-configs.ts"));
  assert.deepEqual(
    [...reached].filter((file) =>
      byFile.get(file)!.specifiers.some((specifier) => !specifier.startsWith(".")),
    ),
    [],
  );
});

test("only src/linux calls into C", () => {
  const wrong = sources.filter(
    ({ file, specifiers }) => folderOf(file) !== "linux" && specifiers.includes("koffi"),
  );
  assert.deepEqual(
    wrong.map(({ file }) => file),
    [],
  );
});

test("no source is longer than 300 lines without a stated reason", () => {
  const long = sources.filter(
    ({ file, text }) =>
      !file.endsWith("_pb.ts") &&
      text.split("\n").length > 301 &&
      !/^ \* Longer than 300 lines because /m.test(text),
  );
  assert.deepEqual(
    long.map(({ file }) => file),
    [],
  );
});
