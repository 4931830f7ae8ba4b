import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { copyFiles } from "./copy-file.ts";

const NO_MOUNTS = { mountInfo: "", hostPath: undefined };

function makeBed(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), `flannel-copy-${process.pid}-`));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const bin = join(root, "bin");
  const tree = join(root, "plugin");
  mkdirSync(bin);
  mkdirSync(join(tree, "lib"), { recursive: true });
  for (const file of ["id", "node", "flannel.cjs", "lib/ld-linux-x86-64.so.2"])
    writeFileSync(join(tree, file), "1-aa");
  symlinkSync("plugin", join(root, "flannel"));
  return { root, bin, plugin: join(root, "flannel") };
}

test("F17 cp replaces a file in one step, with its permissions and through links", (t) => {
  const { root } = makeBed(t);
  const [from, to] = [join(root, "cni-conf.json"), join(root, "10-flannel.conflist")];
  writeFileSync(join(root, "data"), "{}");
  chmodSync(join(root, "data"), 0o640);
  symlinkSync("data", from); // as in the volume of a ConfigMap
  writeFileSync(to, "older and longer");
  const before = statSync(to).ino;
  assert.deepEqual(copyFiles(["-f", from, to], NO_MOUNTS), []);
  assert.equal(readFileSync(to, "utf8"), "{}");
  assert.equal(statSync(to).mode & 0o777, 0o640);
  assert.notEqual(statSync(to).ino, before);
  copyFiles([from, join(root, "bin")], NO_MOUNTS);
  copyFiles(["-fp", "--", from, to, join(root, "bin")], NO_MOUNTS);
  assert.deepEqual(readdirSync(join(root, "bin")).sort(), ["10-flannel.conflist", "cni-conf.json"]);
});

test("F17 cp of the plugin installs it", (t) => {
  const { bin, plugin } = makeBed(t);
  const lines = copyFiles(["-f", plugin, join(bin, "flannel")], NO_MOUNTS);
  assert.deepEqual(lines, [`${bin}/flannel: version 1-aa installed`]);
  assert.deepEqual(readdirSync(bin).sort(), [".flannel-1-aa", "flannel"]);
  assert.match(
    readFileSync(join(bin, "flannel"), "utf8"),
    new RegExp(`^#!${bin}/\\.flannel-1-aa/lib/ld-linux`),
  );
  assert.deepEqual(copyFiles([plugin, bin], NO_MOUNTS), [
    `${bin}/flannel: version 1-aa is already installed`,
  ]);
});

test("F17 the launcher holds the path of the host, by the mount or by the variable", (t) => {
  const { bin, plugin } = makeBed(t);
  const launcherWith = (root: string, hostPath?: string) => {
    const mountInfo = `30 20 8:1 / / rw - ext4 /dev/sda1 rw\n31 30 8:1 ${root} ${bin} rw,relatime - ext4 /dev/sda1 rw\n`;
    const lines = copyFiles(["-f", plugin, join(bin, "flannel")], { mountInfo, hostPath });
    const directory = /^#!(.*?)\/\.flannel-1-aa\//.exec(readFileSync(join(bin, "flannel"), "utf8"))![1];
    return [directory, lines.length];
  };
  assert.deepEqual(launcherWith("/var/lib/cni/bin"), ["/var/lib/cni/bin", 2]);
  assert.deepEqual(launcherWith(bin), [bin, 1]);
  assert.deepEqual(launcherWith("/bin"), [bin, 1], "a file system of its own");
  assert.deepEqual(launcherWith(`/@root${bin}`), [bin, 1], "a subvolume");
  assert.deepEqual(launcherWith("/lib/cni", "/var/lib/cni"), ["/var/lib/cni", 2]);
});

test("F17 what cp cannot do is refused", (t) => {
  const { root, bin, plugin } = makeBed(t);
  const fifo = join(root, "fifo");
  execFileSync("mkfifo", [fifo]);
  for (const [args, fault] of [
    [[], /cp needs a source and a target; usage/],
    [["-r", root, bin], /cp does not support "-r"/],
    [[join(root, "none"), bin], /failed to copy \S+none to \S+: ENOENT/],
    [[fifo, bin], /failed to copy \S+fifo to \S+: is not a regular file/],
    [[root, bin], /is not a regular file/],
    [[plugin, plugin, join(root, "none")], /none is not a directory/],
    [[plugin, join(bin, "other")], /can only be installed under the name flannel/],
  ] as const) {
    assert.throws(() => copyFiles(args, NO_MOUNTS), fault, args.join(" "));
  }
  assert.deepEqual(readdirSync(bin), []);
});
