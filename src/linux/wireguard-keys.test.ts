import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ConfigError } from "../base/error.ts";
import { WireguardKeys } from "./wireguard-keys.ts";

/** RFC 7748 §6.1: Alice's keys. */
const ALICE = Buffer.from("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", "hex");
const ALICE_PUBLIC = Buffer.from("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", "hex");

function keyFile(t: TestContext, text?: string, mode = 0o400): string {
  const directory = mkdtempSync(join(tmpdir(), `flannel-keys-${process.pid}-`));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "run", "wgkey");
  if (text === undefined) return path;
  const given = join(directory, "given");
  writeFileSync(given, text);
  chmodSync(given, mode);
  return given;
}

test("the public key is X25519's (RFC 7748)", (t) => {
  const keys = new WireguardKeys(keyFile(t, `${ALICE.toString("base64")}\n`));
  assert.equal(keys.publicKey(), ALICE_PUBLIC.toString("base64"));
  assert.deepEqual(keys.privateKeyOf(keys.publicKey()), new Uint8Array(ALICE));
  assert.equal(keys.privateKeyOf(ALICE.toString("base64")), undefined);
});

test("a missing key file is created once, readable by its owner only, and kept", (t) => {
  const path = keyFile(t);
  const first = new WireguardKeys(path).publicKey();
  assert.equal(statSync(path).mode & 0o777, 0o400);
  assert.match(readFileSync(path, "utf8"), /^[A-Za-z0-9+/]{43}=\n$/);
  assert.equal(new WireguardKeys(path).publicKey(), first);
});

const REFUSED: readonly (readonly [title: string, text: string, mode: number, message: RegExp])[] = [
  ["empty", "", 0o400, /is empty: delete it to get a new key/],
  ["not base64", "not a key", 0o400, /does not hold a key of 32 bytes in base64/],
  ["too short", Buffer.alloc(31, 1).toString("base64"), 0o400, /does not hold a key of 32 bytes/],
  ["too long", Buffer.alloc(33, 1).toString("base64"), 0o400, /does not hold a key of 32 bytes/],
  ["two keys", `${ALICE.toString("base64")}\n${ALICE.toString("base64")}\n`, 0o400, /does not hold a key/],
  [
    "world-readable",
    `${ALICE.toString("base64")}\n`,
    0o444,
    /can be read by others \(mode 0444\): 'chmod 0400 /,
  ],
  ["group-readable", `${ALICE.toString("base64")}\n`, 0o640, /can be read by others \(mode 0640\)/],
];
for (const [title, text, mode, message] of REFUSED) {
  test(`a key file that is ${title} is refused, with what to do and without the key`, (t) => {
    const keys = new WireguardKeys(keyFile(t, text, mode));
    assert.throws(
      () => keys.publicKey(),
      (error) =>
        error instanceof ConfigError &&
        message.test(error.message) &&
        !error.message.includes(ALICE.toString("base64")),
    );
  });
}

test("a key file of another user is refused, and one of root is not", (t) => {
  const path = keyFile(t, `${ALICE.toString("base64")}\n`);
  const other = 12_345;
  // Root changes the owner; other users pretend to be another user.
  if (process.geteuid!() === 0) chownSync(path, other, other);
  else t.mock.method(process as { geteuid: () => number }, "geteuid", () => other);
  assert.throws(
    () => new WireguardKeys(path).publicKey(),
    (error) =>
      error instanceof ConfigError &&
      /belongs to user \d+, who can change it: 'chown \d+ .*', or delete it to get a new key/.test(
        error.message,
      ) &&
      !error.message.includes(ALICE.toString("base64")),
  );
});

test("a file that is replaced counts from the next start on", (t) => {
  const path = keyFile(t, `${ALICE.toString("base64")}\n`);
  const keys = new WireguardKeys(path);
  assert.equal(keys.publicKey(), ALICE_PUBLIC.toString("base64"));
  rmSync(path);
  const replaced = new WireguardKeys(path).publicKey();
  assert.notEqual(replaced, ALICE_PUBLIC.toString("base64"));
  assert.equal(keys.publicKey(), ALICE_PUBLIC.toString("base64"));
  assert.deepEqual(keys.privateKeyOf(keys.publicKey()), new Uint8Array(ALICE));
  assert.equal(new WireguardKeys(path).publicKey(), replaced);
});

test("a directory that is missing is created, and one that cannot be is named", (t) => {
  const path = keyFile(t);
  assert.ok(!existsSync(join(path, "..")));
  new WireguardKeys(path).publicKey();
  // Root writes where it likes, but not below a file, nor into /sys, whose directories are the kernel's.
  for (const [impossible, message] of [
    [join(path, "wgkey"), /failed to read the WireGuard key file .*: ENOTDIR/],
    [
      "/sys/flannel/wgkey",
      /failed to create the WireGuard key file \/sys\/flannel\/wgkey: (?:EPERM|EACCES|EROFS)/,
    ],
  ] as const)
    assert.throws(
      () => new WireguardKeys(impossible).publicKey(),
      (error) => error instanceof ConfigError && message.test(error.message),
    );
});

test("what is no regular file is refused with its path, and a pipe is not waited for", (t) => {
  const directory = join(keyFile(t), "..");
  mkdirSync(join(directory, "wgkey"), { recursive: true, mode: 0o700 });
  execFileSync("mkfifo", ["-m", "0600", join(directory, "pipe")]);
  for (const path of [join(directory, "wgkey"), join(directory, "pipe"), "/dev/zero"])
    assert.throws(
      () => new WireguardKeys(path).publicKey(),
      (error) =>
        error instanceof ConfigError &&
        error.message.includes(`key file ${path} is not a regular file: remove`),
    );
  symlinkSync(join(directory, "nowhere"), join(directory, "link"));
  assert.throws(
    () => new WireguardKeys(join(directory, "link")).publicKey(),
    (error) => error instanceof ConfigError && error.message.includes(join(directory, "link")),
  );
});

test("a preshared key is known by its fingerprint, and a malformed one is refused without being shown", (t) => {
  const keys = new WireguardKeys(keyFile(t));
  const id = keys.registerPresharedKey(ALICE.toString("base64"));
  assert.match(id, /^sha256:[0-9a-f]{16}$/);
  assert.deepEqual(keys.presharedKeyOf(id), new Uint8Array(ALICE));
  assert.equal(keys.presharedKeyOf("sha256:0000000000000000"), undefined);
  assert.throws(
    () => keys.registerPresharedKey("my secret"),
    (error) => error instanceof ConfigError && !error.message.includes("my secret"),
  );
});

test("a directory that cannot be created is refused, also in /proc, where Node's own mkdir never returns", () => {
  assert.throws(
    () => new WireguardKeys("/proc/flannel/wgkey").publicKey(),
    (error) => error instanceof ConfigError && /\/proc\/flannel\/wgkey.*ENOENT/.test(error.message),
  );
});
