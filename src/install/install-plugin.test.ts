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
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { installPlugin } from "./install-plugin.ts";

/** An image's plugin that is a shell script: it prints its version. */
function makeBed(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), `flannel-install-${process.pid}-`));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const to = join(root, "bin");
  const image = (id: string): string => {
    const from = join(root, `image-${id}`);
    mkdirSync(from, { recursive: true });
    writeFileSync(join(from, "id"), `${id}\n`);
    writeFileSync(join(from, "flannel"), `#!/bin/sh\necho flannel ${id}\n`);
    return from;
  };
  const install = (id: string) => installPlugin({ from: image(id), to });
  const run = () => execFileSync(join(to, "flannel"), { encoding: "utf8" });
  return { root, to, image, install, run };
}

/** What earlier versions installed: a launcher and the tree that its first line names. */
function installTree(to: string, id: string): void {
  const tree = join(to, `.flannel-${id}`);
  mkdirSync(join(tree, "lib"), { recursive: true });
  writeFileSync(join(tree, "node"), "node");
  writeFileSync(join(to, "flannel"), `#!${tree}/lib/ld-linux-x86-64.so.2 ${tree}/node\n`, { mode: 0o755 });
}

test("the plugin is one executable file", (t) => {
  const { to, install, run } = makeBed(t);
  assert.deepEqual(install("1-aa"), [`${to}/flannel: version 1-aa installed`]);
  assert.equal(run(), "flannel 1-aa\n");
  assert.equal(statSync(join(to, "flannel")).mode & 0o777, 0o755);
  assert.deepEqual(readdirSync(to), ["flannel"]);
});

test("a second installation of the same changes nothing", (t) => {
  const { to, install } = makeBed(t);
  install("1-aa");
  const before = statSync(join(to, "flannel")).ino;
  assert.deepEqual(install("1-aa"), [`${to}/flannel: version 1-aa is already installed`]);
  assert.equal(statSync(join(to, "flannel")).ino, before);
});

test("the tree of an earlier version stays for runtimes that have just started it, until the next installation", (t) => {
  const { to, install, run } = makeBed(t);
  installTree(to, "0-99");
  installTree(to, "1-aa");
  assert.deepEqual(install("2-bb"), [`${to}/flannel: version 2-bb installed, replacing 1-aa`]);
  assert.deepEqual(readdirSync(to).sort(), [".flannel-1-aa", "flannel"]);
  assert.equal(run(), "flannel 2-bb\n");
  assert.deepEqual(install("2-bb"), [`${to}/flannel: version 2-bb is already installed`]);
  assert.deepEqual(readdirSync(to), ["flannel"]);
});

test("another program of that name is replaced, and a link to one; other plugins are left alone", (t) => {
  const { root, to, install, run } = makeBed(t);
  mkdirSync(to);
  const other = join(root, "other");
  writeFileSync(other, Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 255]), { mode: 0o755 });
  symlinkSync(other, join(to, "flannel"));
  writeFileSync(join(to, "bridge"), "b");
  install("1-aa");
  assert.equal(run(), "flannel 1-aa\n");
  assert.equal(readFileSync(join(to, "bridge"), "utf8"), "b");
  assert.equal(statSync(other).size, 6);
});

test("an interrupted installation is cleaned up; a damaged plugin is installed again", (t) => {
  const { to, install, run } = makeBed(t);
  mkdirSync(to);
  writeFileSync(join(to, ".flannel-.new-77"), "half");
  install("1-aa");
  const damages = [
    () => truncateSync(join(to, "flannel"), 2),
    () => writeFileSync(join(to, "flannel"), "#!/bin/sh\necho flannel 1-ab\n"),
    () => chmodSync(join(to, "flannel"), 0o600),
  ];
  for (const damage of damages) {
    damage();
    assert.deepEqual(install("1-aa"), [`${to}/flannel: version 1-aa installed`]);
    assert.equal(run(), "flannel 1-aa\n");
  }
  assert.deepEqual(readdirSync(to), ["flannel"]);
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
  assert.equal(said.match(/^flannel /gm)?.length, 80);
});

test("a target that cannot be written is named", (t) => {
  const { to, image } = makeBed(t);
  writeFileSync(to, "");
  assert.throws(
    () => installPlugin({ from: image("1-aa"), to: join(to, "bin") }),
    /failed to install the plugin in \S+bin\/bin: ENOTDIR/,
  );
});
