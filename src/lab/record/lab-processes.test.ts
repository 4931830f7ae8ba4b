import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { endProcesses, identify, isAlive } from "./lab-processes.ts";

/** A shell that is called `) R 1 (`, as hostile a name as can be, and says when it is ready. */
async function startShell(script: string) {
  const child = spawn("sh", ["-c", `printf ') R 1 (' >/proc/$$/comm; ${script}`], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}

test("a process is known by its pid and start time, whatever its name", async (t) => {
  const child = await startShell("echo ready; read x");
  t.after(() => child.kill("SIGKILL"));
  const id = identify(child.pid!)!;
  assert.ok(id.startTicks > identify(1)!.startTicks);
  assert.deepEqual(identify(child.pid!), id);
  assert.ok(isAlive(id));
  assert.ok(!isAlive({ ...id, startTicks: id.startTicks - 1 }), "the pid is another process's now");
  child.stdin.end();
  await once(child, "exit");
  assert.equal(identify(child.pid!), undefined);
  assert.ok(!isAlive(id));
});

test("a process with the pid but another start time is left alone", async (t) => {
  const child = await startShell("echo ready; read x");
  t.after(() => child.kill("SIGKILL"));
  const id = identify(child.pid!)!;
  const reused = { ...id, startTicks: id.startTicks - 1 };
  await endProcesses(() => [reused].filter(isAlive));
  assert.ok(isAlive(id));
});

test("SIGTERM first, and SIGKILL for what does not listen", async (t) => {
  const polite = await startShell("trap 'exit 3' TERM; echo ready; read x");
  const stubborn = await startShell("trap '' TERM; echo ready; read x");
  t.after(() => [polite, stubborn].map((child) => child.kill("SIGKILL")));
  const exits = [polite, stubborn].map((child) => once(child, "exit"));
  const ids = [polite, stubborn].map((child) => identify(child.pid!)!);
  await endProcesses(() => ids.filter(isAlive), 300);
  assert.deepEqual(await Promise.all(exits), [
    [3, null],
    [null, "SIGKILL"],
  ]);
});
