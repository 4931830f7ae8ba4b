/**
 * Who holds a netlink socket: known, not to be seen, ended. A process is asked that may see all, one without
 * CAP_SYS_PTRACE (as in flanneld's image and under the hardened unit), and one in a pid namespace of its own (a container).
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { netlinkSocketOwner } from "../../src/linux/processes.ts";
import { TestProcess } from "../support/process.ts";
import { until } from "../support/until.ts";
import { freshNetns, type TestNetns } from "./support.ts";

const MODULE = fileURLToPath(new URL("../../src/linux/processes.ts", import.meta.url));
const WITHOUT_PTRACE = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
const CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc"];

/** What a process that is started in the namespace, through these words, says of the port id. */
const ask = (ns: TestNetns, portId: number, ...through: string[]): string => {
  const code = `import(${JSON.stringify(MODULE)}).then((it) => console.log(it.netlinkSocketOwner(${portId})))`;
  return ns.run("env", ...through, process.execPath, "--no-warnings", "-e", code).trimEnd();
};

/** `ip monitor`, whose socket has its pid for port id. */
async function startMonitor(ns: TestNetns): Promise<TestProcess> {
  const monitor = new TestProcess("ip", ["monitor"], { netns: ns.path });
  const isOpen = () => ns.run("cat", "/proc/thread-self/net/netlink").includes(` ${monitor.pid} `);
  await until(isOpen, "the monitor's socket");
  return monitor;
}

test("the holder of a netlink socket is found by its port id", () => {
  using first = openRtnetlink();
  using second = openRtnetlink(); // has a random port id
  for (const { connection } of [first, second]) {
    assert.match(netlinkSocketOwner(connection.portId) ?? "", new RegExp(`^\\S+ \\(pid ${process.pid}\\)$`));
  }
  assert.equal(netlinkSocketOwner(0xfffffff0), undefined);
});

test("an open socket: known, guessed where its process cannot be looked into, not to be seen in a container", async (t) => {
  const ns = freshNetns(t);
  await using monitor = await startMonitor(ns);
  const { pid } = monitor;
  assert.equal(ask(ns, pid), `ip (pid ${pid})`);
  assert.equal(ask(ns, pid, ...WITHOUT_PTRACE), `ip (pid ${pid}, probably)`);
  assert.equal(ask(ns, pid, ...CONTAINER), `a process that cannot be seen from here (pid ${pid})`);
});

test("a closed socket: its process may live on, have ended, or be out of sight", async (t) => {
  const ns = freshNetns(t);
  await using lives = new TestProcess("sleep", ["600"], { netns: ns.path });
  await until(() => ns.run("cat", `/proc/${lives.pid}/comm`) === "sleep\n", "setpriv to have become sleep");
  for (const through of [[], WITHOUT_PTRACE]) {
    assert.equal(ask(ns, lives.pid, ...through), `sleep (pid ${lives.pid}, probably)`);
  }
  const out = /^a process that has ended or cannot be seen from here \(pid \d+\)$/;
  assert.match(ask(ns, lives.pid, ...CONTAINER), out);
  const ended = Number(execFileSync("sh", ["-c", "echo $$"], { encoding: "utf8" }));
  const isFirst = execFileSync("readlink", ["/proc/self/ns/pid"], { encoding: "utf8" }).includes(
    "4026531836",
  );
  for (const through of [[], WITHOUT_PTRACE]) {
    const answer = ask(ns, ended, ...through);
    if (isFirst) assert.equal(answer, `a process that has ended (pid ${ended})`);
    else assert.match(answer, out);
  }
  assert.match(ask(ns, 2), /\(pid 2\)$/);
  if (isFirst) assert.equal(ask(ns, 2), "a process that cannot be seen from here (pid 2)", "kthreadd");
});
