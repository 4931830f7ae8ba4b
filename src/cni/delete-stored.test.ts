/** F12: DEL after an ADD that never worked, and with a config that has changed. The delegates are shell scripts. */

import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FAILURE, makeBed } from "../../test/support/cni-plugin-bed.ts";

/** A delegate that rejects a config, whatever the command, unless the config has `"corrected":true`. */
const REJECTS = `grep -q '"corrected":true' "$d/last" || { echo '{"code":7,"msg":"bad ipam"}'; exit 1; }`;

test("F12 an ADD whose config the delegate rejects leaves nothing, so DEL succeeds", async (t) => {
  const bed = makeBed(t);
  for (const command of ["ADD", "DEL"]) bed.on(command, REJECTS);
  assert.equal((await bed.run("ADD", { ipam: { type: "bad" } })).json.msg, "bad ipam");
  assert.deepEqual(bed.kept(), []);
  assert.equal((await bed.run("DEL", { ipam: { type: "bad" } })).exitCode, 0);
});

test("F12 DEL after a failed ADD: by what is stored, else by the present config", async (t) => {
  const bed = makeBed(t);
  bed.on("ADD", FAILURE);
  bed.on("DEL", REJECTS);
  await bed.run("ADD");
  assert.deepEqual(bed.kept(), ["4f2a"], "two different errors: something may be left");
  const failed = await bed.run("DEL");
  assert.equal(failed.json.msg, "bad ipam");
  assert.match(
    failed.json.details,
    /^container 4f2a may still have interface eth0 of plugin "bridge", and addresses/,
  );
  assert.match(
    failed.json.details,
    /IPAM plugin "host-local" in network "cbr0".*remove \S+data\/4f2a only to give them up$/,
  );
  bed.calls();
  const { exitCode, stderr } = await bed.run("DEL", { delegate: { corrected: true } });
  assert.equal(exitCode, 0, stderr);
  assert.deepEqual(
    bed.calls().map(({ config }) => config.corrected),
    [undefined, true],
  );
  assert.deepEqual(
    bed.calls().filter(({ config }) => JSON.stringify(config).includes("flannel.dev")),
    [],
  );
  assert.deepEqual(bed.kept(), []);
});

test("F12 after an ADD that worked the present config is no substitute", async (t) => {
  const bed = makeBed(t);
  await bed.run("ADD");
  bed.on("DEL", REJECTS);
  assert.equal((await bed.run("DEL", { delegate: { corrected: true } })).exitCode, 1);
  assert.deepEqual(bed.kept(), ["4f2a"]);
});

test("F12 a second ADD after one that failed is undone as well", async (t) => {
  const bed = makeBed(t);
  bed.on("ADD", FAILURE);
  bed.on("DEL", "exit 3");
  await bed.run("ADD");
  bed.on("DEL", undefined);
  bed.calls();
  await bed.run("ADD");
  assert.deepEqual(
    bed.calls().map(({ call }) => call.split(" ")[0]),
    ["ADD", "DEL"],
  );
  assert.deepEqual(bed.kept(), []);
});

for (const [title, change] of [
  ["delegate of another type", { delegate: "bridge" }],
  ["delegate with a name", { delegate: { name: "x" } }],
  ["delegate.type that is a number", { delegate: { type: 5 } }],
  ["ipam that is a list", { ipam: [] }],
  ["ipam.routes without dst", { ipam: { routes: [{}] } }],
  ["runtimeConfig that is true", { runtimeConfig: true }],
  ["prevResult that is a string", { prevResult: "x" }],
  ["no name", { name: "" }],
] as const) {
  test(`F12 a config that has become invalid (${title}): DEL and GC go by what is stored`, async (t) => {
    const bed = makeBed(t);
    const config = { cniVersion: "1.1.0" };
    await bed.run("ADD", config);
    bed.calls();
    const other = { CNI_CONTAINERID: "other" };
    assert.equal((await bed.run("ADD", { ...config, ...change }, other)).exitCode, 1);
    bed.calls();
    const { exitCode, json } = await bed.run("DEL", { ...config, ...change });
    assert.equal(exitCode, 0, json?.msg);
    assert.equal(bed.calls()[0]?.call, "DEL 4f2a eth0 /run/netns/none");
    assert.deepEqual(bed.kept(), []);
    assert.equal((await bed.run("DEL", { ...config, ...change })).exitCode, 0, "nothing stored");
    await bed.run("ADD", config);
    bed.calls();
    const gc = await bed.run("GC", { ...config, ...change, "cni.dev/valid-attachments": [] });
    // Its own name is how GC knows what is of this network; the rest concerns the delegate's own GC only.
    const isNamed = title !== "no name";
    assert.deepEqual(bed.kept(), isNamed ? [] : ["4f2a"]);
    if (!isNamed) assert.match(gc.json.msg, /missing network name/);
  });
}

test("F12 CHECK goes by what is stored, and says that ADD failed", async (t) => {
  const bed = makeBed(t);
  const prevResult = { cniVersion: "1.0.0", ips: [] };
  await bed.run("ADD");
  assert.equal((await bed.run("CHECK", { delegate: { type: 5 }, prevResult })).exitCode, 0);
  const wrong = await bed.run("CHECK", { prevResult: "x" });
  assert.deepEqual([wrong.json.code, /prevResult must be an object/.test(wrong.json.details)], [7, true]);
  await bed.run("DEL");
  bed.on("ADD", FAILURE);
  bed.on("DEL", "exit 3");
  await bed.run("ADD");
  const { json } = await bed.run("CHECK", { prevResult });
  assert.deepEqual(
    [json.code, json.msg, json.details],
    [3, "ADD of 4f2a failed, and it is not deleted yet", "11 range is full"],
  );
});

test("F12 a delegate that cannot be started never ran: nothing stays stored", async (t) => {
  const bed = makeBed(t);
  bed.addDelegate("bad", "x", 0o644);
  bed.addDelegate("interpreter", "#!/nonexistent/sh\n");
  for (const type of ["bad", "interpreter", "missing"]) {
    assert.equal((await bed.run("ADD", { delegate: { type } })).exitCode, 1);
    assert.deepEqual(bed.kept(), [], type);
    assert.equal((await bed.run("DEL", { delegate: { type } })).exitCode, 0);
  }
});

test("F12 GC repeats a failed ADD's DEL by the same rule", async (t) => {
  const bed = makeBed(t);
  bed.on("ADD", FAILURE);
  bed.on("DEL", REJECTS);
  await bed.run("ADD", { cniVersion: "1.1.0" });
  const gc = (delegate: object) =>
    bed.run("GC", { cniVersion: "1.1.0", delegate, "cni.dev/valid-attachments": [] });
  const failed = await gc({});
  assert.match(failed.json.details, /bad ipam.*may still have interface eth0/);
  assert.equal((await gc({ corrected: true })).exitCode, 0);
  assert.deepEqual(bed.kept(), []);
});

test("F12 places where no ADD can have stored anything: DEL succeeds", async (t) => {
  const bed = makeBed(t);
  writeFileSync(join(bed.root, "file"), "");
  mkdirSync(join(bed.dataDir, "directory"), { recursive: true });
  for (const [config, variables] of [
    [{ dataDir: join(bed.root, "file/data") }, {}],
    [{}, { CNI_CONTAINERID: "directory" }],
    [{}, { CNI_CONTAINERID: "a".repeat(300) }],
    [{}, { CNI_NETNS: "" }],
  ] as const) {
    const { exitCode, json } = await bed.run("DEL", config, variables);
    assert.equal(exitCode, 0, json?.msg);
  }
  assert.deepEqual(bed.calls(), []);
});

test("F24 a FIFO among the stored configs stops neither DEL nor GC", async (t) => {
  const bed = makeBed(t);
  await bed.run("ADD", { cniVersion: "1.1.0" });
  bed.makeFifo("fifo");
  assert.equal((await bed.run("DEL", {}, { CNI_CONTAINERID: "fifo" })).exitCode, 0);
  const gc = await bed.run("GC", { cniVersion: "1.1.0", "cni.dev/valid-attachments": [] });
  assert.equal(gc.exitCode, 0, gc.json?.details);
  assert.deepEqual(bed.kept(), ["fifo"]);
  rmSync(join(bed.dataDir, "fifo"));
});
