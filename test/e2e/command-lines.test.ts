/** The programs as people call them who do not know them yet: version, help, misspelt words, a symbolic link. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { freshNetns } from "../netns/support.ts";
import { spawnFlanneld } from "../support/flanneld.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FLANNELD = join(ROOT, "bin/flanneld");
const FLANNELCTL = join(ROOT, "bin/flannelctl");
const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
const home = mkdtempSync(join(tmpdir(), "command-lines-"));
after(() => rmSync(home, { recursive: true }));

function run(program: string, args: readonly string[], { cwd = home, path = "/usr/bin:/bin" } = {}) {
  const env = { PATH: path };
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: "utf8",
    cwd,
    env,
    timeout: 60_000,
  });
  return { code: status, out: stdout, err: stderr };
}

test("version, --version and -version: first the version, then commit, Node.js and platform; JSON", () => {
  const rest = `\\(commit \\w+(-dirty)?, Node\\.js v26\\.\\S+, linux/(amd64|arm64)\\)\\n$`;
  for (const word of ["version", "--version", "-version"]) {
    const flanneld = run(FLANNELD, [word]);
    assert.match(flanneld.out, new RegExp(`^v${version} ${rest}`), flanneld.err);
    assert.equal(flanneld.code, 0);
    const flannelctl = run(FLANNELCTL, [word]);
    assert.deepEqual(flannelctl, { ...flanneld, out: `flannelctl ${flanneld.out}` });
    for (const program of [FLANNELD, FLANNELCTL]) {
      const { version: told, ...others } = JSON.parse(run(program, [word, "-o", "json"]).out);
      assert.equal(told, `v${version}`);
      assert.deepEqual(Object.keys(others), ["commit", "node", "platform"]);
    }
  }
  const refused = run(FLANNELD, ["--version", "-o", "xml"]);
  assert.deepEqual(refused, { code: 1, out: "", err: 'flanneld: -o: "xml" is neither text nor json\n' });
});

test("flanneld help, -h and --help: groups, variables, examples, the reference; exit code 0", () => {
  for (const word of ["help", "-h", "--help"]) {
    const { code, out, err } = run(FLANNELD, [word]);
    assert.deepEqual([code, err], [0, ""]);
    assert.match(out, /\nusage: flanneld \[flags\]\n\nDatastore:\n/);
    assert.match(out, /\n {2}--etcd-endpoints urls {2}\[FLANNELD_ETCD_ENDPOINTS\]\n/);
    assert.match(out, /\nExternal interface:\n {2}--iface interface {2}\[FLANNELD_IFACE\]\n/);
    assert.match(out, /\nExamples:\n {2}# .*\n {2}flanneld --etcd-endpoints/);
    assert.match(out, /\nReference: docs\/flags\.md/);
  }
});

test("an unknown flag or command is one line with the nearest name", () => {
  const cases: readonly (readonly [program: string, args: string[], err: RegExp])[] = [
    [
      FLANNELD,
      ["--etcd-endpoint=x"],
      /^flanneld: unknown flag --etcd-endpoint \(did you mean --etcd-endpoints\?\); see flanneld --help\n$/,
    ],
    [FLANNELD, ["---iface"], /^flanneld: bad flag syntax: ---iface; see flanneld --help\n$/],
    [
      FLANNELCTL,
      ["leases", "--wacth"],
      /^unknown flag --wacth \(did you mean --watch\?\); see .*flannelctl leases list --help\n$/,
    ],
    [FLANNELCTL, ["stats"], /^unknown command "stats" \(did you mean status\?\); .*flannelctl knows: .*\n$/],
    [FLANNELCTL, ["--jsno"], /^unknown flag --jsno; .*flannelctl knows: .*\n$/],
  ];
  for (const [program, args, err] of cases) {
    const result = run(program, args);
    assert.match(result.err, err);
    assert.deepEqual([result.code, result.out], [2, ""]);
  }
});

test("flannelctl leases --help shows the flags that work without a command's name", () => {
  const { code, out } = run(FLANNELCTL, ["leases", "--help"]);
  assert.equal(code, 0);
  assert.match(out, /\n {2}reserve .*\n {2}release .*\n\nFlags of "list":\n/);
  assert.match(out, /\n {2}--json\n.*\n {2}--watch\n/);
  assert.match(out, /\n {2}--etcd-prefix path {2}\[FLANNELD_ETCD_PREFIX\]\n/);
});

test("flannelctl names itself as it was called: by path, through a link, by PATH", () => {
  symlinkSync(FLANNELCTL, join(home, "fctl"));
  const named = (program: string, options?: Parameters<typeof run>[2]) =>
    /^usage: (\S+) <command>$/m.exec(run(program, ["help"], options).out)?.[1];
  assert.equal(named(FLANNELCTL, { cwd: ROOT }), "bin/flannelctl");
  assert.equal(named(FLANNELCTL), FLANNELCTL);
  assert.equal(named("./fctl"), "./fctl");
  assert.equal(named(join(home, "fctl"), { cwd: "/" }), join(home, "fctl").slice(1));
  assert.equal(named(join(home, "fctl"), { path: `${home}:/usr/bin:/bin`, cwd: "/" }), "fctl");
});

test("pgrep and ss know flanneld by its name, also with a secret among its arguments, which ps does not show", async (t) => {
  const netns = freshNetns(t);
  netns.run("ip", "link", "set", "lo", "up");
  const start = (...args: string[]) =>
    spawnFlanneld(t, netns, {
      args: ["--etcd-endpoints=http://127.0.0.1:1", `--subnet-file=${join(home, "subnet.env")}`, ...args],
    });
  for (const args of [[], ["--etcd-username=flannel", "--etcd-password=hunter2"]]) {
    const flanneld = start(...args, "--status-listen=127.0.0.1:7000", "--status-socket=off");
    await flanneld.logged(/[Ss]tatus server on/, { deadlineMs: 30_000 });
    const pids = netns.run("pgrep", "-x", "flanneld").split("\n");
    assert.ok(pids.includes(String(flanneld.pid)), pids.join());
    assert.match(netns.run("ss", "-Htlnp", "sport = :7000"), new RegExp(`"flanneld",pid=${flanneld.pid},`));
    const shown = netns.run("ps", "-ww", "-o", "args=", "-p", String(flanneld.pid));
    assert.match(shown, /flanneld/);
    assert.ok(!shown.includes("hunter2"), shown);
    await flanneld.stop();
  }
});

test("mk-docker-opts.sh --help", () => {
  const { code, out, err } = run(join(ROOT, "deploy/docker/mk-docker-opts.sh"), ["--help"]);
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, /-d DOCKER-ENV-FILE/);
  assert.match(out, /EXAMPLE.*\n.* -k DOCKER_NETWORK_OPTIONS -d \/run\/flannel\/docker\n/);
});
