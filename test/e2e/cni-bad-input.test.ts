/** bin/flannel as a process, in both of its ways: standard streams, signals, and being started through links and copies. */

import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { CNI_PROGRAMS } from "../support/cni-programs.ts";
import { TestProcess } from "../support/process.ts";
import { until } from "../support/until.ts";

const ENV =
  "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

function makeBed(t: TestContext, flannel: string, delegate = "#!/bin/sh\necho '{}'\n") {
  const root = mkdtempSync(join(tmpdir(), `cni-bad-${process.pid}-`));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const [plugins, dataDir, subnetFile] = ["plugins", "data", "subnet.env"].map((name) => join(root, name));
  mkdirSync(plugins!);
  writeFileSync(subnetFile!, ENV);
  writeFileSync(join(plugins!, "bridge"), delegate, { mode: 0o755 });
  const config = JSON.stringify({ cniVersion: "1.0.0", name: "cbr0", type: "flannel", subnetFile, dataDir });
  const environment: Record<string, string> = {
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "4f2a",
    CNI_NETNS: "/run/netns/none",
    CNI_IFNAME: "eth0",
    CNI_PATH: plugins!,
    DIRECTORY: root,
  };
  return {
    root,
    dataDir: dataDir!,
    config,
    /** The plugin as a process that waits for its input. */
    start: (variables: Record<string, string> = {}, program = flannel) =>
      new TestProcess(program, [], { env: { ...environment, ...variables } }),
    async run(input: string | Buffer, variables: Record<string, string> = {}, program = flannel) {
      await using plugin = this.start(variables, program);
      plugin.stdin.end(input);
      const end = await plugin.ended;
      return { end, stdout: plugin.stdout, stderr: plugin.stderr };
    },
  };
}

const errorOf = (stdout: string): string => {
  const { cniVersion, code, msg, details = "" } = JSON.parse(stdout);
  return `${cniVersion} ${code} ${msg} ${details}`.trimEnd();
};

for (const { name, directory } of CNI_PROGRAMS) {
  const flannel = join(directory, "flannel");

  for (const [title, input, variables, fault] of [
    ["nothing on stdin", "", {}, /^1\.1\.0 6 .*standard input is empty/],
    ["half a config", '{"cniVersion": "1.0.0", "name', {}, /^1\.1\.0 6 cannot read the network config/],
    [
      "bytes that are not text",
      Buffer.from([0xff, 0xfe, 0x00]),
      {},
      /^1\.1\.0 6 cannot read the network config/,
    ],
    ["a list", "[1]", {}, /^1\.1\.0 6 the network config must be a JSON object, but is a list/],
    [
      "a config that is nested very deeply",
      `{"name": "x", "delegate": {"x": ${"[".repeat(200_000)}${"]".repeat(200_000)}}}`,
      {},
      /^0\.1\.0 6 the network config is nested deeper than 500 levels/,
    ],
    [
      "variables that are missing",
      "{}",
      { CNI_NETNS: "", CNI_PATH: "" },
      /^1\.1\.0 4 required env variables \[CNI_NETNS,CNI_PATH\] missing/,
    ],
    [
      "an ID that is a path",
      "{}",
      { CNI_CONTAINERID: "../../etc" },
      /^1\.1\.0 4 .*CNI_CONTAINERID "\.\.\/\.\.\/etc"/,
    ],
    [
      "F24 an interface that ip(8) takes for an option",
      "{}",
      { CNI_IFNAME: "-all" },
      /^1\.1\.0 4 CNI_IFNAME .*"-all"/,
    ],
    [
      "F24 an interface that the kernel would number",
      "{}",
      { CNI_IFNAME: "eth%d" },
      /^1\.1\.0 4 CNI_IFNAME .*"eth%d"/,
    ],
    [
      "F24 an interface with a terminal's escape",
      "{}",
      { CNI_IFNAME: "e\u001b[2J" },
      /^1\.1\.0 4 CNI_IFNAME .*\\u001b/,
    ],
    ["an unknown command", "{}", { CNI_COMMAND: "UPDATE" }, /^1\.1\.0 4 unknown CNI_COMMAND: UPDATE/],
    [
      "another version",
      '{"cniVersion": "2.0.0", "name": "x"}',
      {},
      /^1\.1\.0 1 incompatible CNI versions config is "2/,
    ],
  ] as const) {
    test(`${name}: ${title}: an error object, and exit code 1`, async (t) => {
      const { end, stdout, stderr } = await makeBed(t, flannel).run(input, variables);
      assert.match(errorOf(stdout), fault);
      assert.deepEqual([end, stderr], [1, ""]);
    });
  }

  test(`${name}: input larger than any config is not read to its end`, async (t) => {
    await using plugin = makeBed(t, flannel).start();
    const chunk = Buffer.alloc(1024 * 1024, " ");
    const isEnded = () => plugin.hasEnded;
    for (let megabytes = 0; megabytes < 100 && !plugin.hasEnded; megabytes++) {
      if (!plugin.stdin.write(chunk))
        await until(() => isEnded() || !plugin.stdin.writableNeedDrain, "a reader");
    }
    assert.equal(await plugin.ended, 1);
    assert.match(
      errorOf(plugin.stdout),
      /^1\.1\.0 5 the network config on standard input is larger than 16777216/,
    );
  });

  test(`${name}: without a command it prints its version, and VERSION needs no input`, async (t) => {
    const bed = makeBed(t, flannel);
    await using bare = bed.start({ CNI_COMMAND: "" });
    assert.equal(await bare.ended, 0);
    assert.equal(bare.stdout, "");
    assert.match(
      bare.stderr,
      /^CNI Plugin flannel version v\d\S* \(linux\/\w+\)\nCNI protocol versions supported: 0\.1\.0,/,
    );
    await using version = bed.start({ CNI_COMMAND: "VERSION" }); // its stdin stays open
    assert.equal(await version.ended, 0);
    assert.equal(JSON.parse(version.stdout).cniVersion, "1.1.0");
    const asked = await bed.run('{"cniVersion":"0.4.0"}', { CNI_COMMAND: "VERSION" });
    assert.equal(JSON.parse(asked.stdout).cniVersion, "0.4.0");
  });

  test(`${name}: a signal ends the delegate, which is undone and reported`, async (t) => {
    const bed = makeBed(
      t,
      flannel,
      '#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\necho $$ >"$DIRECTORY/pid.new"; mv "$DIRECTORY/pid.new" "$DIRECTORY/pid"\nexec sleep 60\n',
    );
    await using plugin = bed.start();
    plugin.stdin.end(bed.config);
    await plugin.brings("the delegate", () => readdirSync(bed.root).includes("pid"));
    const pid = Number(readFileSync(join(bed.root, "pid"), "utf8"));
    plugin.signal("SIGTERM");
    assert.equal(await plugin.ended, 1);
    assert.match(errorOf(plugin.stdout), /^1\.0\.0 999 \S+bridge failed \(ended by SIGTERM\)/);
    assert.throws(() => process.kill(pid, 0), /ESRCH/);
    assert.deepEqual(readdirSync(bed.dataDir), []);
  });

  test(`${name}: an earlier signal ends the plugin`, async (t) => {
    const bed = makeBed(t, flannel);
    await using plugin = bed.start();
    plugin.stdin.write("{"); // and no more
    await plugin.brings("its own program", () =>
      readFileSync(`/proc/${plugin.pid}/cmdline`, "utf8").includes("dist/flannel"),
    );
    assert.equal(await plugin.stop("SIGTERM"), "SIGTERM");
  });

  test(`${name}: the delegate's stderr is passed on`, async (t) => {
    const bed = makeBed(t, flannel, "#!/bin/sh\necho 'to whom it may concern' >&2\necho '{}'\n");
    const { end, stdout, stderr } = await bed.run(bed.config);
    assert.deepEqual(
      [end, JSON.parse(stdout), stderr],
      [0, { cniVersion: "1.0.0" }, "to whom it may concern\n"],
    );
  });

  test(`${name}: stderr may be closed`, async (t) => {
    const bed = makeBed(t, flannel, "#!/bin/sh\necho talk >&2\necho '{}'\n");
    const shell = join(bed.root, "deaf");
    writeFileSync(
      shell,
      `#!/bin/sh\nexec 3>&1; { "${flannel}" 2>&1 >&3 3>&-; echo "$?" >"$DIRECTORY/end"; } | exec 3>&- true\n`,
      {
        mode: 0o755,
      },
    );
    const { stdout } = await bed.run(bed.config, {}, shell);
    await until(() => readdirSync(bed.root).includes("end"), "its end");
    assert.deepEqual(JSON.parse(stdout), { cniVersion: "1.0.0" });
    assert.equal(readFileSync(join(bed.root, "end"), "utf8"), "0\n");
  });

  test(`${name}: the delegate gets the whole environment of the call`, async (t) => {
    const bed = makeBed(t, flannel, '#!/bin/sh\nenv >"$DIRECTORY/environment"\necho "{}"\n');
    await bed.run(bed.config, { CNI_ARGS: "K8S_POD_NAME=x;A=b c", TRACEPARENT: "00-ab" });
    const environment = readFileSync(join(bed.root, "environment"), "utf8");
    for (const line of [
      "CNI_ARGS=K8S_POD_NAME=x;A=b c",
      "TRACEPARENT=00-ab",
      "CNI_COMMAND=ADD",
      "CNI_IFNAME=eth0",
    ]) {
      assert.ok(environment.split("\n").includes(line), line);
    }
  });

  test(`${name}: started through a symbolic link in the runtime's plugin directory`, async (t) => {
    const bed = makeBed(t, flannel);
    const link = join(bed.root, "link");
    symlinkSync(flannel, link);
    const { end, stdout } = await bed.run(bed.config, {}, link);
    assert.deepEqual([end, JSON.parse(stdout)], [0, { cniVersion: "1.0.0" }]);
  });

  test(`${name}: copied without what it needs: an error that the runtime can read`, async (t) => {
    const bed = makeBed(t, flannel);
    mkdirSync(join(bed.root, "bin"));
    const copy = join(bed.root, "bin/flannel");
    writeFileSync(copy, readFileSync(flannel), { mode: 0o755 });
    const { end, stdout } = await bed.run(bed.config, {}, copy);
    assert.equal(end, 1);
    assert.match(errorOf(stdout), /^1\.1\.0 999 the flannel plugin is not built: run make build/);
  });
}
