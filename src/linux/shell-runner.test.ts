import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { hasCode } from "../base/error.ts";
import { createShell, type ShellOptions } from "./shell-runner.ts";

const run = (text: string, options: Partial<ShellOptions> = {}, input = "", environment = {}) =>
  createShell({ signal: new AbortController().signal, environment: process.env, ...options })({
    ...{ text, input, environment },
  });

/** Waits until a process is gone. */
async function isGone(pid: number): Promise<void> {
  // A zombie has no command line any more.
  const exists = () => existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`).length > 0;
  while (exists()) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** A file for a command to write a process id to, and a wait until it has. */
function pidFile(t: { after(clean: () => void): void }) {
  const directory = mkdtempSync(join(tmpdir(), "flannel-shell-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "pid");
  const pid = async () => {
    for (;;) {
      const text = existsSync(path) ? readFileSync(path, "utf8") : "";
      if (text.endsWith("\n")) return Number(text);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  return { path, pid };
}

test("standard output, trimmed; standard input and environment reach the command", async () => {
  const output = await run('read line; echo "  $line $SUBNET  "; echo noise >&2', {}, "data\n", {
    SUBNET: "10.5.2.0/24",
  });
  assert.equal(output, "data 10.5.2.0/24");
});

test("this process's environment is inherited, without its passwords and sockets", async () => {
  const environment = { PATH: process.env.PATH, KEPT: "1", FLANNELD_ETCD_PASSWORD: "x", NOTIFY_SOCKET: "/n" };
  const output = await run("env", { environment });
  assert.match(output, /^KEPT=1$/m);
  assert.doesNotMatch(output, /FLANNELD|NOTIFY/);
});

test("failures have exit code or signal and the end of standard error, in one printable line", async () => {
  await assert.rejects(run("printf 'a\\nb\\n\\033[1mc\\n' >&2; exit 3"), (error) => {
    assert.ok(hasCode(error, "EXIT"));
    assert.equal((error as Error).message, "exit code 3: a; b; \\x1b[1mc");
    return true;
  });
  await assert.rejects(run("kill -9 $$"), { code: "SIGNAL", message: "ended by SIGKILL" });
  await assert.rejects(run("no-such-command-anywhere"), /exit code 127: .*not found/);
  await assert.rejects(run("echo a\0b"), { code: "ERR_INVALID_ARG_VALUE" });
  await assert.rejects(run("true", { environment: { PATH: "/nowhere" } }), { code: "ENOENT" });
  await assert.rejects(run("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1"), (error) => {
    assert.ok((error as Error).message.length < 400);
    return true;
  });
});

test("megabytes of output are read, not kept, and refused; so is what is not UTF-8", async () => {
  const before = process.memoryUsage.rss();
  await assert.rejects(run("head -c 300000000 /dev/zero"), { code: "EMSGSIZE" });
  assert.ok(process.memoryUsage.rss() - before < 100_000_000);
  await assert.rejects(run("printf '\\377'"), { code: "EILSEQ" });
});

test("a command that hangs is killed with all that it started", async (t) => {
  const { path, pid } = pidFile(t);
  await assert.rejects(
    run(`trap '' TERM; (trap '' TERM; sleep 1000) & echo $! >${path}; wait; sleep 1000`, { timeoutMs: 300 }),
    {
      code: "ETIMEDOUT",
      message: "killed after 0.3 s",
    },
  );
  await isGone(await pid());
});

test("so it is when flanneld stops, and no more is started", async (t) => {
  const { path, pid } = pidFile(t);
  const stop = new AbortController();
  const shell = createShell({ signal: stop.signal, environment: process.env });
  const running = shell({ text: `sleep 1000 & echo $! >${path}; wait`, input: "", environment: {} });
  const child = await pid();
  stop.abort();
  await assert.rejects(running, { code: "ECANCELED" });
  await isGone(child);
  await assert.rejects(shell({ text: "true", input: "", environment: {} }), { code: "ECANCELED" });
});

test("a process that exits takes its running commands along", async (t) => {
  const { path, pid } = pidFile(t);
  const script = `
    import { createShell } from ${JSON.stringify(import.meta.resolve("./shell-runner.ts"))};
    import { existsSync } from "node:fs";
    const shell = createShell({ signal: new AbortController().signal, environment: process.env });
    void shell({ text: "trap '' TERM; sleep 1000 & echo $! >${path}; wait", input: "", environment: {} });
    const timer = setInterval(() => { if (existsSync(${JSON.stringify(path)})) process.exit(0); }, 10);
  `;
  const { status } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { timeout: 20_000 });
  assert.equal(status, 0);
  await isGone(await pid());
});

test("what a command leaves in the background stays, and is not waited for", async (t) => {
  const { path, pid } = pidFile(t);
  assert.equal(await run(`sleep 1000 & echo $! >${path}; echo up`), "up");
  const child = await pid();
  assert.ok(readFileSync(`/proc/${child}/cmdline`, "utf8").startsWith("sleep"));
  process.kill(child, "SIGKILL");
});
