/** The small services around system calls that need neither root nor a namespace: sd_notify, programs, files. */

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { hasCode } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import { DescriptorStore } from "./descriptor-store.ts";
import { ExecError, exec } from "./exec.ts";
import { check, sys } from "./ffi.ts";
import { writeFileAtomic } from "./files.ts";
import { sdNotify } from "./sd-notify.ts";

function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "flannel-linux-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A service manager's socket, under a path or an abstract name; gives a function that reads the next message. */
function listen(t: TestContext, name: string): () => string {
  const isAbstract = name.startsWith("@");
  const address = Buffer.concat([
    Buffer.from([1, 0]),
    Buffer.from(isAbstract ? `\0${name.slice(1)}` : `${name}\0`),
  ]);
  const fd = check(sys.socket(1, 2, 0), "socket");
  t.after(() => sys.close(fd));
  check(sys.bind(fd, address, address.length), "bind");
  return () => {
    const buffer = new Uint8Array(100);
    return Buffer.from(buffer.subarray(0, check(sys.recv(fd, buffer, 100, 0x40), "recv"))).toString();
  };
}

test("sd_notify reaches a socket by path and by abstract name", (t) => {
  for (const name of [join(temporaryDirectory(t), "notify"), `@flannel-test-${process.pid}`]) {
    const read = listen(t, name);
    sdNotify(name, "READY=1");
    assert.equal(read(), "READY=1");
  }
});

test("sd_notify says what is wrong with the socket", (t) => {
  const nowhere = join(temporaryDirectory(t), "none");
  assert.throws(
    () => sdNotify(nowhere, "READY=1"),
    (error) => hasCode(error, "ENOENT"),
  );
  for (const name of ["", "relative", "@", `/${"x".repeat(108)}`]) {
    assert.throws(() => sdNotify(name, "READY=1"), /NOTIFY_SOCKET: neither a path/);
  }
});

test("descriptors that a process is started with", async () => {
  const program = `
    import { fstatSync } from "node:fs";
    import { takeListenFds } from "${import.meta.dirname}/sd-notify.ts";
    const read = (variables) => {
      const environment = { LISTEN_PIDFDID: "7", OTHER: "x", ...variables };
      return JSON.stringify([[...takeListenFds(environment, process.pid)], environment]);
    };
    const pid = String(process.pid);
    for (const variables of JSON.parse(process.argv[1]))
      console.log(read({ LISTEN_PID: pid, ...variables }));
    console.log([3, 4, 5].filter((fd) => { try { fstatSync(fd); return true; } catch { return false; } }).join());
    const { execFileSync } = await import("node:child_process");
    console.log(execFileSync("sh", ["-c", "ls /proc/self/fd"], { encoding: "utf8" }).includes("4"));`;
  const cases: readonly [variables: object, fds: readonly (readonly [string, number])[]][] = [
    [{}, []],
    [{ LISTEN_FDS: "2", LISTEN_FDNAMES: "a:b", LISTEN_PID: "1" }, []],
    [{ LISTEN_FDS: "-2", LISTEN_FDNAMES: "a:b" }, []],
    [{ LISTEN_FDS: "99999999", LISTEN_FDNAMES: "a:b" }, []],
    [{ LISTEN_FDS: "2" }, []],
    [{ LISTEN_FDS: "2", LISTEN_FDNAMES: "a" }, []],
    [{ LISTEN_FDS: "2", LISTEN_FDNAMES: "a:b:c" }, []],
    [
      { LISTEN_FDS: "3", LISTEN_FDNAMES: "a:b:c" },
      [
        ["a", 3],
        ["b", 4],
        ["c", 5],
      ],
    ],
    [
      { LISTEN_FDS: "3", LISTEN_FDNAMES: "a:a:b" },
      [
        ["a", 4],
        ["b", 5],
      ],
    ],
  ];
  const list = JSON.stringify(cases.map(([variables]) => variables));
  const script = 'exec 3</dev/null 4</dev/null 5</dev/null; exec "$@"';
  const args = ["-c", script, "sh", process.execPath, "--no-warnings", "--input-type=module", "-e"];
  const { stdout } = await exec("bash", [...args, program, list]);
  const lines = stdout.trimEnd().split("\n");
  for (const [index, [, fds]] of cases.entries())
    assert.equal(lines[index], JSON.stringify([fds, { OTHER: "x" }]));
  assert.equal(lines.at(-2), "4,5", "of two with one name the first is closed");
  assert.equal(lines.at(-1), "false", "programs do not inherit them");
});

test("kept descriptors: stored, adopted or not, closed", (t) => {
  const read = listen(t, `@flannel-test-${process.pid}-store`);
  const opened = (): { readonly fd: number } => ({ fd: check(sys.socket(1, 2, 0), "socket") });
  const isOpen = (fd: number): boolean => sys.fcntl(fd, 1, 0) >= 0;
  // Numbers that are not given out again at once (F_DUPFD).
  const high = () => {
    using closing = new DisposableStack();
    const { fd } = opened();
    closing.defer(() => sys.close(fd));
    return check(sys.fcntl(fd, 0, 500), "fcntl");
  };
  const [good, bad, forgotten] = [high(), high(), high()];
  const store = new DescriptorStore({
    handedOver: new Map([
      ["good", good],
      ["bad", bad],
      ["forgotten", forgotten],
    ]),
    notifySocket: `@flannel-test-${process.pid}-store`,
    logger: silentLogger,
  });
  const take = (name: string) => store.open(name, (fd) => (fd === bad ? undefined : { fd }), opened).fd;
  assert.equal(take("good"), good);
  const fresh = take("bad");
  assert.notEqual(fresh, bad);
  assert.equal(isOpen(bad), false);
  assert.equal(take("bad"), fresh);
  assert.equal(read(), "FDSTOREREMOVE=1\nFDNAME=bad");
  assert.equal(read(), "FDSTORE=1\nFDPOLL=0\nFDNAME=bad");
  store.closeUnclaimed();
  assert.equal(read(), "FDSTOREREMOVE=1\nFDNAME=forgotten");
  assert.deepEqual([good, fresh, forgotten].map(isOpen), [true, true, false]);
  for (const name of ["good", "bad", "none"]) store.close(name);
  assert.deepEqual([good, fresh].map(isOpen), [false, false]);
});

test("a program's output, input and environment", async () => {
  const { stdout, stderr } = await exec("sh", ["-c", "echo out; echo err >&2"]);
  assert.deepEqual({ stdout, stderr }, { stdout: "out\n", stderr: "err\n" });
  assert.equal((await exec("cat", [], { input: "a\nb" })).stdout, "a\nb");
  const env = { PATH: process.env.PATH, GREETING: "hello" };
  assert.equal((await exec("sh", ["-c", "echo $GREETING"], { env })).stdout, "hello\n");
  assert.equal(
    (await exec("true", [], { input: "x".repeat(1_000_000) })).stdout,
    "",
    "input that is not read",
  );
});

test("a program that fails, is missing, is too slow or is killed", async () => {
  const failure = async (program: string, args: string[], timeoutMs = 5000): Promise<ExecError> => {
    const error = await exec(program, args, { timeoutMs }).then(
      () => undefined,
      (caught: unknown) => caught,
    );
    assert.ok(error instanceof ExecError, String(error));
    return error;
  };
  const failed = await failure("sh", ["-c", "echo some; echo reason >&2; exit 3"]);
  assert.deepEqual(
    [failed.code, failed.exitCode, failed.stdout, failed.message],
    ["EXIT", 3, "some\n", "sh: exit code 3: reason"],
  );
  const missing = await failure("no-such-program-here", []);
  assert.deepEqual(
    [missing.code, missing.message],
    ["ENOENT", "no-such-program-here: not found: install it, or put its directory in PATH"],
  );
  const grandchild = await failure("sh", ["-c", "sleep 2 & echo $!; wait"], 100);
  assert.equal(grandchild.code, "ETIMEDOUT", "although a child of its own lives on and holds its output");
  process.kill(Number(grandchild.stdout), "SIGKILL");
  assert.equal((await failure("sleep", ["30"], 30)).code, "ETIMEDOUT");
  assert.equal((await failure("sh", ["-c", "kill -TERM $$"])).code, "SIGNAL");
  assert.equal((await failure("/", [])).code, "EACCES");
});

test("a file is written whole, with its mode, its directories made, nothing left beside it", async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, "run/flannel/subnet.env");
  const mask = process.umask(0o077);
  try {
    await writeFileAtomic(path, "A=1\n", 0o644);
  } finally {
    process.umask(mask);
  }
  assert.equal(readFileSync(path, "utf8"), "A=1\n");
  assert.equal(statSync(path).mode & 0o777, 0o644);
  const inode = statSync(path).ino;
  await writeFileAtomic(path, "A=2\n", 0o600);
  assert.equal(readFileSync(path, "utf8"), "A=2\n");
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.notEqual(statSync(path).ino, inode, "another file in its place");
  assert.deepEqual(readdirSync(join(directory, "run/flannel")), ["subnet.env"]);
});

test("a file that cannot be written says which and why, and leaves nothing", async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, "file"), "");
  await assert.rejects(
    writeFileAtomic(join(directory, "file/below"), "x", 0o644),
    (error: Error) =>
      hasCode(error, "ENOTDIR") && error.message.startsWith(`failed to write ${directory}/file/below: `),
  );
  await assert.rejects(writeFileAtomic("/proc/flannel/subnet.env", "x", 0o644), (error) =>
    hasCode(error, "ENOENT"),
  );
  await assert.rejects(writeFileAtomic(directory, "x", 0o644), (error) => hasCode(error, "EISDIR"));
  assert.deepEqual(readdirSync(directory), ["file"]);
});
