import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { writeFileAtomic } from "../linux/files.ts";
import { installNetworkConfig } from "./install-network-config.ts";

const CONFIG =
  '{"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}\n';

function makeBed(t: TestContext, config: string) {
  const root = mkdtempSync(join(tmpdir(), `flannel-config-${process.pid}-`));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const places = { from: join(root, "cni-conf.json"), to: join(root, "net.d/10-flannel.conflist") };
  mkdirSync(dirname(places.to));
  writeFileSync(places.from, config);
  const install = () => installNetworkConfig(places, { writeFile: writeFileAtomic });
  return { ...places, install };
}

test("the config is installed unchanged and world-readable, and not written again", async (t) => {
  const { to, install } = makeBed(t, CONFIG);
  assert.deepEqual(await install(), [`${to}: config installed`]);
  assert.equal(readFileSync(to, "utf8"), CONFIG);
  assert.equal(statSync(to).mode & 0o777, 0o644);
  const before = statSync(to).ino;
  assert.deepEqual(await install(), [`${to}: config is already installed`]);
  assert.equal(statSync(to).ino, before);
  assert.deepEqual(readdirSync(dirname(to)), ["10-flannel.conflist"]);
});

for (const [config, fault] of [
  ["{", /is not valid JSON/],
  ["[]", /has no text for "cniVersion"/],
  ["null", /is not a JSON object/],
  ['{"cniVersion": "1.0.0", "name": ""}', /has no text for "name"/],
  ['{"cniVersion": "1.0.0", "name": "n", "type": "flannel"}', /has no list of "plugins"/],
  ['{"cniVersion": "1.0.0", "name": "n", "plugins": []}', /has no list of "plugins"/],
  ['{"cniVersion": "1.0.0", "name": "n", "plugins": [null]}', /has a plugin without "type"/],
] as const) {
  test(`a config that no runtime could use does not replace a working one: ${config}`, async (t) => {
    const { to, install } = makeBed(t, config);
    writeFileSync(to, CONFIG);
    await assert.rejects(install(), fault);
    assert.equal(readFileSync(to, "utf8"), CONFIG);
  });
}

test("a missing config is reported with its source", async (t) => {
  const { from, install } = makeBed(t, CONFIG);
  rmSync(from);
  await assert.rejects(install(), /failed to read the CNI config: ENOENT.*cni-conf\.json of the ConfigMap/);
});

test("a config of another network that sorts first is reported, and so is one without flannel", async (t) => {
  const { to, install } = makeBed(t, CONFIG.replace("flannel", "bridge"));
  for (const file of ["05-cilium.conflist", "10-aaa.conf", "05-notes.txt", "99-loopback.conf"]) {
    writeFileSync(join(dirname(to), file), "{}");
  }
  const [, withoutFlannel, rivals] = await install();
  assert.match(withoutFlannel!, /names no plugin of type "flannel" \(bridge, portmap\)/);
  assert.match(rivals!, /also contains 05-cilium\.conflist, 10-aaa\.conf: container runtimes use the first/);
});
