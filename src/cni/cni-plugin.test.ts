/** The plugin with delegates that are shell scripts: how they are called, and what their answers lead to. */

import assert from "node:assert/strict";
import { readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ENV, FAILURE, makeBed, PLUGIN_VERSION, RESULT } from "../../test/support/cni-plugin-bed.ts";
import { SUPPORTED_VERSIONS } from "./versions.ts";

const NETNS = "/run/netns/none";

test("ADD returns the delegate's result unchanged, and stores the delegate's config", async (t) => {
  const bed = makeBed(t);
  assert.deepEqual(await bed.run("ADD"), {
    exitCode: 0,
    stdout: RESULT,
    json: JSON.parse(RESULT),
    stderr: "",
  });
  const [added] = bed.calls();
  assert.equal(added?.call, `ADD 4f2a eth0 ${NETNS}`);
  assert.deepEqual(JSON.parse(readFileSync(join(bed.dataDir, "4f2a"), "utf8")), added.config);
  assert.equal((await bed.run("DEL")).exitCode, 0);
  assert.deepEqual(bed.calls(), [{ call: `DEL 4f2a eth0 ${NETNS}`, config: added.config }]);
  assert.deepEqual(bed.kept(), []);
  const again = await bed.run("DEL");
  assert.equal(again.exitCode, 0);
  assert.match(again.stderr, /^flannel: nothing is stored for 4f2a in /);
  assert.deepEqual(bed.calls(), []);
});

test("ADD answers in each version of the specification", async (t) => {
  const bed = makeBed(t);
  bed.on("ADD", `echo '{"ips":[]}'; exit 0`);
  for (const cniVersion of SUPPORTED_VERSIONS) {
    assert.deepEqual((await bed.run("ADD", { cniVersion })).json, { ips: [], cniVersion });
    assert.equal(bed.calls()[0]?.config.cniVersion, cniVersion);
  }
  assert.deepEqual((await bed.run("ADD", { cniVersion: undefined })).json.cniVersion, "0.1.0");
  assert.equal(bed.calls()[0]?.config.cniVersion, undefined, "a config without a version goes on without");
});

test("a failed ADD is undone, and its error returned with code and details", async (t) => {
  const bed = makeBed(t);
  bed.on("ADD", FAILURE);
  const { exitCode, json } = await bed.run("ADD");
  assert.deepEqual(
    [exitCode, json],
    [1, { cniVersion: "1.0.0", code: 11, msg: "range is full", details: "10.5.72.0/24" }],
  );
  const [added, deleted] = bed.calls();
  assert.equal(deleted?.call, `DEL 4f2a eth0 ${NETNS}`);
  assert.deepEqual(deleted.config, added?.config);
  assert.deepEqual(bed.kept(), []);
});

test("a failed ADD that cannot be undone leaves what the runtime's DEL needs", async (t) => {
  const bed = makeBed(t);
  bed.on("ADD", FAILURE);
  bed.on("DEL", "echo stuck >&2; exit 3");
  const { json, stderr } = await bed.run("ADD");
  assert.equal(json.msg, "range is full");
  assert.match(
    stderr,
    /failed to undo the failed ADD; DEL will retry: \S*bridge failed \(exit code 3\): "stuck"/,
  );
  assert.deepEqual(bed.kept(), ["4f2a"]);
  bed.calls();
  bed.on("DEL", undefined);
  assert.equal((await bed.run("DEL")).exitCode, 0);
  assert.equal(bed.calls().length, 1);
  assert.deepEqual(bed.kept(), []);
});

test("a second ADD that fails does not delete the interface of the first", async (t) => {
  const bed = makeBed(t);
  await bed.run("ADD");
  const [first] = bed.calls();
  bed.on("ADD", FAILURE);
  assert.equal((await bed.run("ADD", { delegate: { mtu: 1200 } })).exitCode, 1);
  assert.deepEqual(
    bed.calls().map(({ call }) => call),
    [`ADD 4f2a eth0 ${NETNS}`],
  );
  await bed.run("DEL");
  assert.deepEqual(bed.calls()[0]?.config, first?.config);
});

test("a DEL that fails can be repeated", async (t) => {
  const bed = makeBed(t);
  await bed.run("ADD");
  bed.on("DEL", FAILURE);
  for (let round = 0; round < 2; round++) {
    const { exitCode, json } = await bed.run("DEL");
    assert.deepEqual([exitCode, json.code, json.msg], [1, 11, "range is full"]);
    assert.deepEqual(bed.kept(), ["4f2a"]);
  }
  bed.on("DEL", undefined);
  rmSync(join(bed.root, "subnet.env"));
  assert.equal((await bed.run("DEL")).exitCode, 0, "without subnet.env");
  assert.deepEqual(bed.kept(), []);
});

test("DEL passes on prevResult if it has the version of the stored config", async (t) => {
  const bed = makeBed(t);
  const prevResult = JSON.parse(RESULT);
  for (const [cniVersion, expected] of [
    ["1.0.0", prevResult],
    ["1.1.0", undefined],
  ] as const) {
    await bed.run("ADD");
    bed.calls();
    await bed.run("DEL", { cniVersion, prevResult });
    assert.deepEqual(bed.calls()[0]?.config.prevResult, expected);
  }
});

test("DEL with a damaged file uses the config; if that is impossible, it names the file", async (t) => {
  const bed = makeBed(t);
  for (const damage of ["", "{", "[]", "{}", '{"type":1}']) {
    bed.keep("4f2a", damage);
    const { exitCode, stderr } = await bed.run("DEL");
    assert.equal(exitCode, 0);
    assert.match(stderr, /data\/4f2a is damaged; using the network config and \S*subnet\.env instead/);
    assert.equal(bed.calls()[0]?.config.ipam.ranges[0][0].subnet, "10.5.72.0/24");
    assert.deepEqual(bed.kept(), []);
  }
  bed.keep("4f2a", "{");
  rmSync(join(bed.root, "subnet.env"));
  const { json } = await bed.run("DEL");
  assert.equal(json.code, 6);
  assert.match(json.msg, /data\/4f2a is damaged .*flanneld has not written .*remove that file if the/);
  assert.deepEqual(bed.kept(), ["4f2a"]);
});

test("CHECK runs the delegate's CHECK with the result of ADD and a gateway on each route", async (t) => {
  const bed = makeBed(t);
  const prevResult = {
    cniVersion: "1.0.0",
    ips: [
      { address: "10.5.72.3/24", gateway: "10.5.72.1" },
      { address: "fc00::3/64", gateway: "fc00::1" },
    ],
    routes: [{ dst: "10.5.0.0/16" }, { dst: "fc00::/48" }, { dst: "0.0.0.0/0", gw: "10.5.72.9" }],
  };
  const unknown = await bed.run("CHECK", { prevResult });
  assert.deepEqual([unknown.exitCode, unknown.json.code], [1, 3]);
  await bed.run("ADD", { cniVersion: "0.4.0" });
  assert.equal((await bed.run("CHECK")).json.code, 7, "without prevResult");
  const [added] = bed.calls();
  assert.equal((await bed.run("CHECK", { prevResult, runtimeConfig: { mac: "x" } })).exitCode, 0);
  const [checked] = bed.calls();
  assert.deepEqual(checked?.config, {
    ...added?.config,
    cniVersion: "1.0.0",
    runtimeConfig: { mac: "x" },
    prevResult: {
      ...prevResult,
      routes: [
        { dst: "10.5.0.0/16", gw: "10.5.72.1" },
        { dst: "fc00::/48", gw: "fc00::1" },
        { dst: "0.0.0.0/0", gw: "10.5.72.9" },
      ],
    },
  });
  bed.on("CHECK", FAILURE);
  assert.equal((await bed.run("CHECK", { prevResult })).json.msg, "range is full");
  assert.equal((await bed.run("CHECK", { cniVersion: "0.3.1", prevResult })).json.code, 1);
});

test("STATUS: whether an ADD could succeed, and what prevents it", async (t) => {
  const bed = makeBed(t);
  const status = async (config: object = {}) => {
    const { exitCode, json } = await bed.run("STATUS", { cniVersion: "1.1.0", ...config });
    return exitCode === 0 ? "ready" : `${json.code} ${json.msg}`;
  };
  assert.equal(await status(), "ready");
  assert.deepEqual(
    bed.calls().map(({ call }) => call.split(" ")[0]),
    ["STATUS"],
  );
  bed.on("STATUS", `echo '{"code":4,"msg":"unknown CNI_COMMAND: STATUS"}'; exit 1`);
  assert.equal(await status(), "ready", "with a delegate that is older than STATUS");
  bed.on("VERSION", `echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'`);
  assert.match(await status(), /^50 plugin "bridge" does not support version 1\.1\.0 .* newer plugins$/);
  bed.on("VERSION", `echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}'`);
  assert.equal(await status(), "ready", "older than STATUS, but with the config's version");
  bed.on("STATUS", `echo '{"code":51,"msg":"no addresses"}'; exit 1`);
  assert.equal(await status(), "51 no addresses");
  assert.match(await status({ delegate: { type: "ptp" } }), /^50 failed to find plugin "ptp" in path \[/);
  assert.match(await status({ delegate: { name: "x" } }), /^7 /);
  writeFileSync(join(bed.root, "subnet.env"), ENV.replace(/FLANNEL_MTU.*\n/, ""));
  assert.match(await status(), /^50 .*is missing FLANNEL_MTU/);
  rmSync(join(bed.root, "subnet.env"));
  assert.match(await status(), /^50 flanneld has not written/);
});

test("GC deletes what is no longer attached to this network, and nothing else", async (t) => {
  const bed = makeBed(t);
  const config = { cniVersion: "1.1.0" };
  for (const [containerId, ifName, name] of [
    ["stays", "eth0", "cbr0"],
    ["stays", "net1", "cbr0"],
    ["halfgone", "eth0", "cbr0"],
    ["halfgone", "net1", "cbr0"],
    ["gone", "net7", "cbr0"],
    ["foreign", "eth0", "other"],
  ] as const) {
    await bed.run("ADD", { ...config, name }, { CNI_CONTAINERID: containerId, CNI_IFNAME: ifName });
  }
  bed.keep("go-gone", '{"name":"cbr0","type":"bridge"}');
  bed.keep("go-stays", '{"name":"cbr0","type":"bridge"}');
  bed.keep("damaged", "{");
  symlinkSync("eth0", join(bed.dataDir, ".long-gone"));
  bed.calls();
  const attachments = [
    { containerID: "stays", ifname: "eth0" },
    { containerID: "stays", ifname: "net1" },
    { containerID: "halfgone", ifname: "eth0" },
    { containerID: "go-stays", ifname: "net3" },
  ];
  const { exitCode, stderr } = await bed.run("GC", { ...config, "cni.dev/valid-attachments": attachments });
  assert.equal(exitCode, 0);
  assert.match(stderr, /data\/damaged is damaged/);
  const calls = bed.calls();
  assert.deepEqual(calls.map(({ call }) => call).sort(), [
    "DEL go-gone eth0",
    "DEL gone net7",
    "DEL halfgone net1",
    `GC dummy dummy ${NETNS}`,
  ]);
  assert.deepEqual(calls.at(-1)?.config["cni.dev/valid-attachments"], attachments);
  assert.deepEqual(bed.kept(), [
    ".halfgone",
    ".stays",
    "damaged",
    "foreign",
    "go-stays",
    "halfgone",
    "stays",
    "stays:net1",
  ]);
  assert.equal(readlinkSync(join(bed.dataDir, ".halfgone")), "eth0");
});

test("GC continues after a failure and reports it; without a list it deletes nothing", async (t) => {
  const bed = makeBed(t);
  const config = { cniVersion: "1.1.0" };
  await bed.run("ADD", config, { CNI_CONTAINERID: "a" });
  await bed.run("ADD", config, { CNI_CONTAINERID: "b" });
  bed.calls();
  const refused = await bed.run("GC", config);
  assert.deepEqual([refused.exitCode, refused.json.code], [1, 7]);
  assert.deepEqual(bed.calls(), []);
  bed.on("DEL", `if [ "$CNI_CONTAINERID" = a ]; then ${FAILURE}; fi`);
  bed.on("GC", `echo '{"code":4,"msg":"unknown CNI_COMMAND: GC"}'; exit 1`);
  const failed = await bed.run("GC", { ...config, "cni.dev/attachments": null });
  assert.equal(failed.json.code, 999);
  assert.match(
    failed.json.details,
    /data\/a: range is full: 10\.5\.72\.0\/24; container a may still have interface eth0/,
  );
  assert.deepEqual(bed.kept(), ["a"]);
  bed.on("DEL", undefined);
  assert.equal((await bed.run("GC", { ...config, "cni.dev/valid-attachments": [] })).exitCode, 0);
  assert.deepEqual(bed.kept(), []);
});

test("delegates that are missing, broken, silent or print junk", async (t) => {
  const bed = makeBed(t);
  bed.addDelegate("silent", "#!/bin/sh\nexit 3\n");
  bed.addDelegate("speaks", "#!/bin/sh\necho 'panic: oh' >&2\nexit 2\n");
  bed.addDelegate("killed", "#!/bin/sh\nkill -9 $$\n");
  bed.addDelegate("junk", "#!/bin/sh\necho hello\n");
  bed.addDelegate("empty", "#!/bin/sh\nexit 0\n");
  bed.addDelegate("badjunk", "#!/bin/sh\necho hello\nexit 1\n");
  bed.addDelegate("endless", "#!/bin/sh\nexec cat /dev/zero\n");
  bed.addDelegate("nocode", `#!/bin/sh\necho '{"msg":"bad"}'\nexit 1\n`);
  bed.addDelegate("noexec", "x", 0o644);
  for (const [type, fault] of [
    ["ptp", /^999 failed to find plugin "ptp" in path \[\S+plugins\]: install it/],
    ["", /^7 invalid plugin name: ""/],
    ["x".repeat(300), /^999 failed to find plugin "x+" in path/],
    ["bri\0dge", /^999 failed to find plugin "bri\\u0000dge" in path/],
    ["../bridge", /^7 invalid plugin name: "\.\.\/bridge"/],
    ["silent", /^999 \S+silent failed \(exit code 3\) without an error message/],
    ["speaks", /^999 \S+speaks failed \(exit code 2\): "panic: oh"/],
    ["killed", /^999 \S+killed failed \(ended by SIGKILL\) without an error message/],
    ["junk", /^6 \S+junk printed no CNI result: "hello\\n"/],
    ["empty", /^6 \S+empty printed no CNI result: ""/],
    ["badjunk", /^999 \S+badjunk failed \(exit code 1\) and printed no CNI error: "hello\\n"/],
    ["endless", /^999 \S+endless failed \(ended by SIGKILL\): it printed more than 16777216 bytes/],
    ["nocode", /^999 bad$/],
    ["noexec", /^999 cannot run \S+noexec: .*EACCES; is it executable/],
  ] as const) {
    const { exitCode, json } = await bed.run("ADD", { delegate: { type } });
    assert.equal(exitCode, 1);
    assert.match(`${json.code} ${json.msg}`, fault);
  }
});

test("paths that stat refuses are skipped: a directory of plugins, a namespace", async (t) => {
  const bed = makeBed(t);
  const loop = join(bed.root, "loop");
  symlinkSync("loop", loop);
  const changes = { CNI_PATH: `${loop}:${join(bed.root, "plugins")}`, CNI_NETNS: `/${"x".repeat(5_000)}` };
  for (const command of ["ADD", "DEL"]) assert.equal((await bed.run(command, {}, changes)).exitCode, 0);
  assert.deepEqual(bed.kept(), []);
});

test("the host's own network namespace is refused, unless the runtime allows it", async (t) => {
  const bed = makeBed(t);
  const own = { CNI_NETNS: "/proc/self/ns/net" };
  for (const command of ["ADD", "DEL"]) {
    const { json } = await bed.run(command, {}, own);
    assert.deepEqual(
      [json.code, json.details],
      [8, "/proc/self/ns/net is the network namespace of the host"],
    );
  }
  assert.deepEqual(bed.calls(), []);
  assert.equal((await bed.run("ADD", {}, { ...own, CNI_NETNS_OVERRIDE: "true" })).exitCode, 0);
});

test("VERSION answers in the version of the request; without a command the plugin prints its version", async (t) => {
  const bed = makeBed(t);
  for (const [input, cniVersion] of [
    ['{"cniVersion":"0.4.0"}', "0.4.0"],
    ['{"cniVersion":"9.0.0"}', "1.1.0"],
    ["", "1.1.0"],
    ["junk", "1.1.0"],
  ] as const) {
    const { json } = await bed.run("VERSION", input, { CNI_PATH: "" });
    assert.deepEqual(json, { cniVersion, supportedVersions: [...SUPPORTED_VERSIONS] });
  }
  const bare = await bed.run("", "");
  assert.deepEqual([bare.exitCode, bare.stdout], [0, ""]);
  assert.match(
    bare.stderr,
    /^CNI Plugin flannel version v\d+\.\d+\.\d+ \(linux\/\w+\)\nCNI protocol .*0\.1\.0, .*1\.1\.0\n$/,
  );
  assert.ok(bare.stderr.startsWith(`CNI Plugin flannel version ${PLUGIN_VERSION} `));
});

test("errors have the config's version, or the newest", async (t) => {
  const bed = makeBed(t);
  for (const [config, cniVersion, code] of [
    [{ cniVersion: "0.3.1", name: "" }, "0.3.1", 7],
    [{ cniVersion: undefined, name: "" }, "0.1.0", 7],
    [{ cniVersion: "3.0.0" }, "1.1.0", 1],
    ["{", "1.1.0", 6],
  ] as const) {
    const { json } = await bed.run("ADD", config);
    assert.deepEqual([json.cniVersion, json.code], [cniVersion, code]);
  }
});
