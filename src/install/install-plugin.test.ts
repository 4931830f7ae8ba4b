import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { installPlugin } from "./install-plugin.ts";

/** An image's plugin tree whose loader is a shell script: it prints its arguments and the files that they name. */
function makeBed(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), `flannel-install-${process.pid}-`));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const to = join(root, "bin");
  const image = (id: string): string => {
    const from = join(root, `image-${id}`);
    mkdirSync(join(from, "lib"), { recursive: true });
    writeFileSync(join(from, "id"), `${id}\n`);
    writeFileSync(join(from, "node"), `node ${id}`);
    writeFileSync(join(from, "flannel.cjs"), `// ${id}`);
    writeFileSync(join(from, "lib/libc.so.6"), "c");
    writeFileSync(join(from, "lib/ld-linux-x86-64.so.2"), '#!/bin/sh\ncat "$1" "$2"\n');
    chmodSync(join(from, "lib/ld-linux-x86-64.so.2"), 0o755);
    return from;
  };
  const install = (id: string) => installPlugin({ from: image(id), to, hostPath: to });
  const run = () => execFileSync(join(to, "flannel"), { encoding: "utf8" });
  return { to, image, install, run };
}

test("the launcher starts the tree's own loader, with Node.js and the launcher as arguments", (t) => {
  const { to, install, run } = makeBed(t);
  assert.deepEqual(install("1-aa"), [`${to}/flannel: version 1-aa installed`]);
  assert.match(run(), /^node 1-aa#!.*\nrequire\(".*\/\.flannel-1-aa\/flannel\.cjs"\);\n$/);
  assert.equal(statSync(join(to, "flannel")).mode & 0o777, 0o755);
  assert.deepEqual(readdirSync(to).sort(), [".flannel-1-aa", "flannel"]);
});

test("a second installation of the same changes nothing", (t) => {
  const { to, install } = makeBed(t);
  install("1-aa");
  const before = statSync(join(to, "flannel")).ino;
  assert.deepEqual(install("1-aa"), [`${to}/flannel: version 1-aa is already installed`]);
  assert.equal(statSync(join(to, "flannel")).ino, before);
});

test("the previous version stays for runtimes that have just started it, older ones are removed", (t) => {
  const { to, install, run } = makeBed(t);
  install("1-aa");
  assert.deepEqual(install("2-bb"), [`${to}/flannel: version 2-bb installed, replacing 1-aa`]);
  assert.deepEqual(readdirSync(to).sort(), [".flannel-1-aa", ".flannel-2-bb", "flannel"]);
  install("3-cc");
  assert.deepEqual(readdirSync(to).sort(), [".flannel-2-bb", ".flannel-3-cc", "flannel"]);
  assert.match(run(), /^node 3-cc/);
});

test("another program of that name is replaced, other plugins are left alone", (t) => {
  const { to, install, run } = makeBed(t);
  mkdirSync(to);
  writeFileSync(join(to, "flannel"), Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 255]), { mode: 0o755 });
  writeFileSync(join(to, "bridge"), "b");
  install("1-aa");
  assert.match(run(), /^node 1-aa/);
  assert.equal(readFileSync(join(to, "bridge"), "utf8"), "b");
});

test("an interrupted installation is cleaned up; a damaged tree is installed again", (t) => {
  const { to, install, run } = makeBed(t);
  mkdirSync(join(to, ".flannel-1-aa.new-77/lib"), { recursive: true });
  install("1-aa");
  truncateSync(join(to, ".flannel-1-aa/node"), 2);
  assert.deepEqual(install("1-aa"), [`${to}/flannel: version 1-aa installed, replacing 1-aa`]);
  assert.match(run(), /^node 1-aa/);
  assert.deepEqual(readdirSync(to).sort(), [".flannel-1-aa", "flannel"]);
});

test("while versions are installed, every start finds a whole plugin", async (t) => {
  const { to, install } = makeBed(t);
  install("1-aa");
  const loop = spawn("sh", ["-c", `while read -r _; do "$0" || exit 1; done`, join(to, "flannel")]);
  let said = "";
  loop.stdout.on("data", (chunk) => {
    said += chunk;
  });
  let complaints = "";
  loop.stderr.on("data", (chunk) => {
    complaints += chunk;
  });
  loop.stdin.on("error", () => {});
  for (let round = 0; round < 40; round++) {
    loop.stdin.write("start\nstart\n");
    install(`${2 + (round % 2)}-bb`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  loop.stdin.end();
  const [exitCode] = await once(loop, "close");
  assert.equal(complaints, "");
  assert.equal(exitCode, 0);
  assert.equal(said.match(/^node /gm)?.length, 80);
});

test("a host path that the launcher cannot contain is refused before anything is written", (t) => {
  const { to, image } = makeBed(t);
  const from = image("1-aa");
  for (const hostPath of ["opt/cni/bin", "/opt/cni bin", "/opt/\n"]) {
    assert.throws(
      () => installPlugin({ from, to, hostPath }),
      /--host-path must be an absolute path without/,
    );
  }
  assert.throws(
    () => installPlugin({ from, to, hostPath: `/${"d".repeat(120)}` }),
    /--host-path is too long/,
  );
  assert.throws(() => readdirSync(to), /ENOENT/);
});

test("a target that cannot be written is named", (t) => {
  const { to, image } = makeBed(t);
  writeFileSync(to, "");
  assert.throws(
    () => installPlugin({ from: image("1-aa"), to: join(to, "bin"), hostPath: "/opt/cni/bin" }),
    /^ENOTDIR|failed to install the plugin in \/opt\/cni\/bin: ENOTDIR/,
  );
});
