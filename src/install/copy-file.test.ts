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

function makeBed(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), `flannel-copy-${process.pid}-`));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const bin = join(root, "bin");
  const image = join(root, "plugin");
  mkdirSync(bin);
  mkdirSync(image);
  writeFileSync(join(image, "id"), "1-aa");
  writeFileSync(join(image, "flannel"), "the plugin");
  symlinkSync("plugin/flannel", join(root, "flannel"));
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
  assert.deepEqual(copyFiles(["-f", from, to]), []);
  assert.equal(readFileSync(to, "utf8"), "{}");
  assert.equal(statSync(to).mode & 0o777, 0o640);
  assert.notEqual(statSync(to).ino, before);
  copyFiles([from, join(root, "bin")]);
  copyFiles(["-fp", "--", from, to, join(root, "bin")]);
  assert.deepEqual(readdirSync(join(root, "bin")).sort(), ["10-flannel.conflist", "cni-conf.json"]);
});

test("F17 cp of the plugin installs it", (t) => {
  const { bin, plugin } = makeBed(t);
  const lines = copyFiles(["-f", plugin, join(bin, "flannel")]);
  assert.deepEqual(lines, [`${bin}/flannel: version 1-aa installed`]);
  assert.deepEqual(readdirSync(bin), ["flannel"]);
  assert.equal(readFileSync(join(bin, "flannel"), "utf8"), "the plugin");
  assert.equal(statSync(join(bin, "flannel")).mode & 0o777, 0o755);
  assert.deepEqual(copyFiles([plugin, bin]), [`${bin}/flannel: version 1-aa is already installed`]);
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
    assert.throws(() => copyFiles(args), fault, args.join(" "));
  }
  assert.deepEqual(readdirSync(bin), []);
});
