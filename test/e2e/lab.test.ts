/**
 * The lab as a user has it: bin/flannelctl, real flanneld, the embedded store or a real etcd.
 *
 *           hub (store)                hub (etcd)
 *           ┌───┴───┐                  ┌───┴───┐
 *          h1       h2       and      h1       h2      at the same time, with the same addresses
 *           │        │                 │        │
 *         h1-c1    h2-c1             h1-c1    h2-c1
 *
 * That nothing stays behind is asked of the machine, not of the lab: namespaces, directories, command lines.
 */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createNetns, deleteNetns, netnsPath } from "../../src/linux/netns.ts";
import { FLANNELCTL } from "../support/programs.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const temporary = mkdtempSync(join(tmpdir(), "lab-test-"));
const labs = ["a", "b", "c", "d"].map((letter) => `t${process.pid}${letter}`);
const [first, second, third, demo] = labs as [string, string, string, string];

after(async () => {
  for (const name of labs) await flannelctl("lab", "down", "--name", name);
  rmSync(temporary, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs `program`; without `input` its standard input stays open. */
function start(program: string, args: readonly string[], input?: string): [ChildProcess, Promise<Outcome>] {
  const child = spawn(program, args, { cwd: root, stdio: "pipe" });
  const out = collect(child.stdout);
  const err = collect(child.stderr);
  if (input !== undefined) child.stdin.end(input);
  const outcome = once(child, "close").then(([code]) => ({ code, out: out(), err: err() }));
  return [child, outcome];
}

function collect(stream: Readable): () => string {
  let text = "";
  stream.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  return () => text;
}

const flannelctl = (...args: string[]): Promise<Outcome> => start(FLANNELCTL, args, "")[1];

async function succeed(...args: string[]): Promise<string> {
  const { code, out, err } = await flannelctl(...args);
  assert.equal(code, 0, `flannelctl ${args.join(" ")}: ${out}${err}`);
  return out;
}

const up = (name: string, ...flags: string[]) =>
  flannelctl("lab", "up", "--hosts=2", `--name=${name}`, ...flags);

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!condition()) {
    assert.ok(performance.now() < deadlineMs, `never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const listIfThere = (directory: string): string[] => (existsSync(directory) ? readdirSync(directory) : []);

/** Everything on the machine that bears the lab's name. */
function traces(name: string): string[] {
  const namespaces = listIfThere("/run/netns").filter((file) => file.startsWith(`flannel-${name}-`));
  const directories = ["/run/flannel-lab", "/var/lib/flannel-lab"].filter((directory) =>
    listIfThere(directory).includes(name),
  );
  const commands = readdirSync("/proc")
    .filter((file) => /^\d+$/.test(file))
    .map(commandLine)
    .filter((line) => line.includes(`flannel-lab/${name}/`));
  return [...namespaces, ...directories, ...commands];
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return ""; // it has just ended
  }
}

test("two labs at once, from up to down", async (t) => {
  const results = await Promise.all([up(first), up(second, "--etcd")]);
  for (const [index, { code, out, err }] of results.entries()) {
    assert.equal(code, 0, out + err);
    assert.match(out, /^hub {2}192\.168\.64\.1 {2}(store|etcd), network config written$/m);
    assert.equal(out.includes("etcd"), index === 1);
    assert.match(
      out,
      /^h2 {3}192\.168\.64\.12 {2}flanneld, bridge 10\.5\.\d+\.1\/24, MTU 1450, container h2-c1 /m,
    );
    assert.match(out, /is up after \d+\.\d s\.\nTry:\n {2}bin\/flannelctl lab ping /);
    const hints = out.split("\nTry:\n")[1]!.trim().split(/\n +/);
    for (const hint of hints.filter((words) => !words.includes(" lab down "))) {
      const [program, ...args] = hint.split(" ");
      const { code, out, err } = await start(program!, args, "")[1];
      assert.equal(code, 0, `${hint}, while two labs are up: ${out}${err}`);
    }
    assert.equal(hints.at(-1), `bin/flannelctl lab down --name ${[first, second][index]}`);
  }
  const subnetOf = async (lab: string) =>
    /^h1 .*?(10\.5\.\d+)\.1\/24/m.exec(await succeed("lab", "status", "--name", lab))![1]!;
  const subnet = await subnetOf(first);

  await t.test("every container reaches every other in each of them", async () => {
    for (const lab of [first, second]) {
      const out = await succeed("lab", "ping", "--name", lab, "--count=2");
      assert.match(out, /^from \\ to {2}h1-c1 +h2-c1$/m);
      assert.match(out, /^h2-c1 +\d+\.\d\d +-$/m);
      assert.match(out, /^All 6 ways work/m);
    }
    const { ways, failed } = JSON.parse(
      await succeed("lab", "ping", "--name", first, "--count=1", "-o", "json"),
    );
    assert.deepEqual([ways.length, failed], [6, 0]);
    assert.ok(ways.every((way: { rttMs: number; lost: number }) => way.rttMs > 0 && way.lost === 0));
    const { nodes, isGood } = JSON.parse(await succeed("lab", "status", "--name", first, "-o", "json"));
    assert.equal(isGood, true);
    assert.deepEqual(
      nodes.map(({ name }: { name: string }) => name),
      ["hub", "h1", "h2"],
    );
    assert.match(nodes[1].families[0].bridge, /^10\.5\.\d+\.1\/24$/);
  });

  await t.test("exec: on a host, in a container, on the hub; with input, output and exit code", async () => {
    const exec = (...args: string[]) => flannelctl("lab", "exec", "--name", first, ...args);
    assert.match((await exec("h1", "--", "ip", "-br", "-4", "address")).out, /^cni0 .* 10\.5\./m);
    const inContainer = ["--", "ip", "-br", "-4", "address", "show", "eth0"];
    for (const node of [["h1", "--container"], ["h1-c1"]]) {
      assert.match((await exec(...node, ...inContainer)).out, new RegExp(`${subnet}\\.2/24`));
    }
    assert.match((await exec("hub", "--", FLANNELCTL, "leases")).out, new RegExp(`^${subnet}\\.0/24 `, "m"));
    const [, outcome] = start(
      FLANNELCTL,
      ["lab", "exec", "--name", first, "h1", "--", "sh", "-c", "cat; echo no >&2; exit 7"],
      "hello",
    );
    assert.deepEqual(await outcome, { code: 7, out: "hello", err: "no\n" });
    assert.equal((await exec("h1", "--", "sh", "-c", "kill -KILL $$")).code, 128 + 9);
    const refused: [string[], RegExp][] = [
      [["h9", "--", "true"], /there is no "h9" in lab .*; there are: hub, h1, h2, h1-c1, h2-c1/],
      [["h1"], /no command given: write it after --/],
      [["h1", "true"], /write the command after --: -- true/],
      [["h1", "--", "no-such-program"], /no-such-program: not found/],
    ];
    for (const [args, message] of refused) {
      const { code, err } = await exec(...args);
      assert.equal(code, 1);
      assert.match(err, message);
      assert.doesNotMatch(err, / at .*:\d+/, "no stack trace");
    }
  });

  await t.test("exec passes SIGTERM on", async () => {
    const script = "trap 'echo got; exit 5' TERM; echo ready; read x";
    const args = ["lab", "exec", "--name", first, "h1", "--", "sh", "-c", script];
    const [child, outcome] = start(FLANNELCTL, args);
    await once(child.stdout!, "data");
    child.kill("SIGTERM");
    const { code, out } = await outcome;
    assert.deepEqual([code, out], [5, "ready\ngot\n"]);
  });

  await t.test("a second lab of the same name is refused, and the first keeps running", async () => {
    const { code, err } = await up(first);
    assert.equal(code, 1);
    assert.match(err, /there is a lab .* already: remove it with "lab down --name /);
    await succeed("lab", "status", "--name", first);
  });

  await t.test("status and ping tell of what is broken, in this lab only", async () => {
    const out = await succeed("lab", "status", "--name", first);
    process.kill(Number(/^h2 .* flanneld +(\d+) /m.exec(out)![1]), "SIGKILL");
    let status = { code: 0 as number | null, out: "" };
    for (let tries = 0; status.code === 0 && tries < 100; tries++) {
      status = await flannelctl("lab", "status", "--name", first);
    }
    assert.equal(status.code, 1);
    assert.match(status.out, /^h2 .* flanneld +dead /m);
    await succeed("lab", "exec", "--name", first, "h2", "--", "ip", "link", "set", "cni0", "down");
    const ping = await flannelctl("lab", "ping", "--name", first, "--count=1");
    assert.equal(ping.code, 1);
    assert.match(ping.out, /^h1-c1 +- +✗$/m);
    assert.match(ping.out, /^4 of 6 ways failed\.$/m);
    await succeed("lab", "ping", "--name", second, "--count=1");
  });

  await t.test("down leaves nothing, nor what a user started inside, and can be repeated", async () => {
    const shell = ["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"];
    const sleeper = (await succeed("lab", "exec", "--name", first, "h1-c1", "--", ...shell)).trim();
    assert.match(commandLine(sleeper), /^sleep 1000/);
    assert.match(await succeed("lab", "down", "--name", first), /Removed lab/);
    assert.equal(commandLine(sleeper), "");
    assert.deepEqual(traces(first), []);
    assert.match(await succeed("lab", "down", "--name", first), /There is no lab/);
    await succeed("lab", "status", "--name", second);
    await succeed("lab", "down", "--name", second);
    assert.deepEqual(traces(second), []);
  });
});

test("a `lab up` killed at any moment: `lab down` finds everything", async () => {
  const directory = `/run/flannel-lab/${third}`;
  const stateHolds = (role: string): boolean =>
    existsSync(`${directory}/state.json`) && readFileSync(`${directory}/state.json`, "utf8").includes(role);
  const moments: [string, () => boolean][] = [
    ["its directory is there", () => existsSync(directory)],
    ["the plan is written", () => existsSync(`${directory}/state.json`)],
    ["the hub is there", () => existsSync(netnsPath(`flannel-${third}-hub`))],
    ["the store runs", () => existsSync(`${directory}/store.log`)],
    ["the store is noted", () => stateHolds('"store"')],
    ["a flanneld runs", () => existsSync(`${directory}/h1/flanneld.log`)],
    ["a container is there", () => existsSync(netnsPath(`flannel-${third}-h1-c1`))],
  ];
  for (const [what, condition] of moments) {
    const args = ["lab", "up", "--hosts=2", "--name", third];
    const [child, outcome] = start(FLANNELCTL, args);
    await until(what, condition);
    child.kill("SIGKILL");
    await outcome;
    await succeed("lab", "down", "--name", third);
    assert.deepEqual(traces(third), [], `killed when ${what}`);
  }
});

test("`lab down`, SIGINT or SIGTERM while `lab up` is at work: both end, nothing stays", async () => {
  const stops: [string, (child: ChildProcess) => unknown][] = [
    ["down", () => succeed("lab", "down", "--name", third)],
    ["SIGINT", (child) => child.kill("SIGINT")],
    ["SIGTERM", (child) => child.kill("SIGTERM")],
  ];
  for (const [what, stop] of stops) {
    const args = ["lab", "up", "--hosts=2", "--name", third];
    const [child, outcome] = start(FLANNELCTL, args);
    await until("the store runs", () => existsSync(`/run/flannel-lab/${third}/store.log`));
    await stop(child);
    const { code, err } = await outcome;
    assert.equal(code, 1, what);
    assert.match(err, /^flannelctl: interrupted by SIG(INT|TERM)\n$/);
    assert.deepEqual(traces(third), [], what);
  }
});

test("what cannot work is said, and nothing stays", async () => {
  const config = join(temporary, "config.json");
  const withConfig = (text: string): string => {
    writeFileSync(config, text);
    return `--config=${config}`;
  };
  const cases: [string[], RegExp][] = [
    [
      ["--backend=telepathy"],
      /^flannelctl: network config: Backend\.Type "telepathy" is not known; use one of: /,
    ],
    [["--", "--iface=nope0"], /flanneld on h1 exited:\n.*--iface=nope0/],
    [["--", "--no-such-flag"], /flanneld on h1 exited:\n.*unknown flag --no-such-flag/],
    [["--flanneld=/nonexistent"], /--flanneld: \/nonexistent is not an executable file/],
    [[withConfig('{"Network": "10.5.0.0/29"}')], /Network 10\.5\.0\.0\/29 is too small/],
    [["--config=/nonexistent.json"], /--config: failed to read \/nonexistent\.json/],
    [["--config=x", "--backend=vxlan"], /--backend and --config exclude each other/],
    [["--network=192.168.0.0/16"], /choose another one with --underlay/],
    [["--network=10.5.0.0"], /--network: "10\.5\.0\.0" is not an IPv4 network/],
    [["--hosts=0"], /--hosts: must be within 1…244/],
    [["--name=No/Name"], /--name: "No\/Name" is not a valid name/],
  ];
  for (const [flags, message] of cases) {
    if (message.source.includes("too small")) withConfig('{"Network": "10.5.0.0/29"}');
    const { code, err } = await up(third, ...flags);
    assert.equal(code, 1, flags.join(" "));
    assert.match(err, message);
    assert.doesNotMatch(err, /^ {4}at /m, "no stack trace");
    assert.deepEqual(traces(third), [], flags.join(" "));
  }
});

test("a full network: the hosts that got a subnet are named, the reason is given, nothing stays", async () => {
  const config = join(temporary, "small.json");
  writeFileSync(config, '{"network": "10.5.0.0/28", "subnetlen": 30, "backend": {"type": "vxlan"}}');
  const { code, out, err } = await up(third, "--hosts=4", `--config=${config}`);
  assert.equal(code, 1);
  assert.match(out + err, /out of subnets/);
  assert.deepEqual(traces(third), []);
});

test("with --keep a lab that failed stays for a look, and `lab down` removes it", async () => {
  const { code } = await up(third, "--keep", "--", "--iface=nope0");
  assert.equal(code, 1);
  assert.equal((await flannelctl("lab", "status", "--name", third)).code, 1);
  const { code: pingCode, err } = await flannelctl("lab", "ping", "--name", third);
  assert.equal(pingCode, 1);
  assert.match(err, /h1 has no subnet: see "lab status" and .*flanneld\.log/);
  await succeed("lab", "down", "--name", third);
  assert.deepEqual(traces(third), []);
});

test("a foreign namespace of such a name is neither used nor deleted", async (t) => {
  const netns = `flannel-${third}-h2`;
  createNetns(netns);
  t.after(() => deleteNetns(netns));
  const { code, err } = await up(third);
  assert.equal(code, 1);
  assert.match(err, /the network namespace .*-h2 exists and is no lab's/);
  await succeed("lab", "down", "--name", third);
  assert.deepEqual(traces(third), [netns]);
});

test("without root, or without what it takes installed, it says what to do", async () => {
  const command = [process.execPath, join(root, "src/cmd/flannelctl.ts"), "lab", "up", "--name", third];
  const nobody = ["--reuid=65534", "--clear-groups", ...command];
  const [, asNobody] = start("setpriv", nobody, "");
  assert.equal((await asNobody).code, 1);
  assert.match((await asNobody).err, /only root can make: use sudo/);
  const [, withoutTools] = start("env", ["PATH=/nonexistent", ...command, "--etcd", "--nftables"], "");
  assert.equal((await withoutTools).code, 1);
  assert.match(
    (await withoutTools).err,
    /not installed: etcd, nft; on Debian: apt-get install etcd-server nftables/,
  );
});

test("make demo: up, a table without a gap, until SIGTERM, then nothing", async (t) => {
  const [child, outcome] = start(process.execPath, [join(root, "scripts/demo.ts"), demo]);
  t.after(() => child.kill("SIGTERM"));
  let isDone = false;
  child.stdout!.on("data", (text: string) => {
    isDone ||= text.includes("until Ctrl-C");
  });
  child.on("exit", () => {
    isDone = true;
  });
  await until("the demo runs", () => isDone);
  assert.notDeepEqual(traces(demo), []);
  child.kill("SIGTERM");
  const { code, out, err } = await outcome;
  assert.equal(code, 0, out + err);
  assert.match(out, /^All 15 ways work/m);
  assert.match(out, /lab exec h1 -- ip route/);
  assert.deepEqual(traces(demo), []);
});
