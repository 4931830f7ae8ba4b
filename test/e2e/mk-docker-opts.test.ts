/**
 * mk-docker-opts.sh under the shells it has to run in: Debian's dash, busybox's ash and bash in POSIX mode.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parsePrefix } from "../../src/address/prefix.ts";
import { formatSubnetEnv } from "../../src/config/subnet-env.ts";

const SCRIPT = fileURLToPath(new URL("../../deploy/docker/mk-docker-opts.sh", import.meta.url));
const SHELLS = [["dash"], ["busybox", "sh"], ["bash", "--posix"]] as const;

const folder = mkdtempSync(join(tmpdir(), `mk-docker-opts-${process.pid}-`));
after(() => rmSync(folder, { recursive: true, force: true }));

const SUBNET_ENV =
  "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n";
const INDIVIDUAL =
  'DOCKER_OPT_BIP="--bip=10.1.74.1/24"\nDOCKER_OPT_IPMASQ="--ip-masq=true"\nDOCKER_OPT_MTU="--mtu=1472"\n';
const COMBINED = 'DOCKER_OPTS=" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"\n';

let runs = 0;

/** Runs the script on a file with the given text in a folder of its own. */
function run(shell: readonly string[], text: string | undefined, ...options: string[]) {
  const home = mkdtempSync(join(folder, `run-${runs++}-`));
  const input = join(home, "subnet.env");
  const output = join(home, "sub dir", "docker.env");
  if (text !== undefined) writeFileSync(input, text);
  const args = [...shell.slice(1), SCRIPT, "-f", input, "-d", output, ...options];
  const { status, stderr } = spawnSync(shell[0]!, args, { encoding: "utf8", timeout: 10_000 });
  const written = existsSync(output) ? readFileSync(output, "utf8") : undefined;
  return { status, stderr, written, home, output };
}

for (const shell of SHELLS) {
  const name = shell.join(" ");

  test(`${name}: what is written for each option`, () => {
    const cases: [options: string[], expected: string][] = [
      [[], INDIVIDUAL + COMBINED],
      [["-i", "-c"], INDIVIDUAL + COMBINED],
      [["-i"], INDIVIDUAL],
      [["-c"], COMBINED],
      [["-c", "-m"], 'DOCKER_OPTS=" --bip=10.1.74.1/24 --mtu=1472"\n'],
      [["-im"], 'DOCKER_OPT_BIP="--bip=10.1.74.1/24"\nDOCKER_OPT_MTU="--mtu=1472"\n'],
      [
        ["-k", "DOCKER_NETWORK_OPTIONS"],
        INDIVIDUAL + COMBINED.replace("DOCKER_OPTS", "DOCKER_NETWORK_OPTIONS"),
      ],
    ];
    for (const [options, expected] of cases) {
      const { status, stderr, written } = run(shell, SUBNET_ENV, ...options);
      assert.deepEqual([status, stderr, written], [0, "", expected], options.join(" "));
    }
  });

  test(`${name}: only one of Docker and flannel masquerades`, () => {
    const { written } = run(shell, SUBNET_ENV.replace("IPMASQ=false", "IPMASQ=true"), "-c");
    assert.equal(written, COMBINED.replace("--ip-masq=true", "--ip-masq=false"));
  });

  test(`${name}: reads what flanneld writes, including IPv6 lines`, () => {
    const ipv4 = { network: parsePrefix("10.1.0.0/16")!, subnet: parsePrefix("10.1.74.0/24")! };
    const ipv6 = { network: parsePrefix("fc00::/48")!, subnet: parsePrefix("fc00:0:0:4a::/64")! };
    const results = { mtuBytes: 1472, ipMasq: false };
    const dual = formatSubnetEnv({
      network: { ipv4: ipv4.network, ipv6: ipv6.network },
      subnets: { ipv4: ipv4.subnet, ipv6: ipv6.subnet },
      ...results,
    });
    assert.equal(run(shell, dual).written, INDIVIDUAL + COMBINED);
    const ipv6Only = formatSubnetEnv({
      network: { ipv4: undefined, ipv6: ipv6.network },
      subnets: { ipv4: undefined, ipv6: ipv6.subnet },
      ...results,
    });
    assert.equal(run(shell, ipv6Only, "-c").written, 'DOCKER_OPTS=" --ip-masq=true --mtu=1472"\n');
  });

  test(`${name}: comments, blank lines, carriage returns and a missing last newline are accepted`, () => {
    const text = `# flannel\r\n\r\nX=1\r\n${SUBNET_ENV.trimEnd().replaceAll("\n", "\r\n")}`;
    assert.equal(run(shell, text, "-c").written, COMBINED);
  });

  test(`F15 ${name}: a file that people have edited is read as a shell reads it`, () => {
    const shellReads = (text: string): string => {
      const script = 'set -a; . "$0"; printf "%s %s %s" "$FLANNEL_SUBNET" "$FLANNEL_MTU" "$FLANNEL_IPMASQ"';
      const home = mkdtempSync(join(folder, "source-"));
      writeFileSync(join(home, "env"), text);
      return spawnSync("dash", ["-c", script, join(home, "env")], { encoding: "utf8" }).stdout;
    };
    for (const subnet of [
      '"10.1.74.1/24"',
      "'10.1.74.1/24'",
      "10.1.74.1/24   # ours",
      '"10.1.74.1/24" # a "b"',
      "10.1.74.1/24;",
      "'10.1.74.1/24'; # x",
    ]) {
      for (const prefix of ["", "export ", "  ", "\texport\t"]) {
        const text = SUBNET_ENV.replace("10.1.74.1/24", subnet)
          .replace(/^F/gm, `${prefix}F`)
          .replace("1472", '"1472"');
        assert.equal(shellReads(text), "10.1.74.1/24 1472 false", text);
        assert.equal(run(shell, text, "-c").written, COMBINED, text);
        assert.equal(run(shell, text.replaceAll("\n", "\r\n"), "-c").written, COMBINED, text);
      }
    }
    assert.equal(
      run(shell, `\uFEFF${SUBNET_ENV.replace(/.*\n/, "")}FLANNEL_SUBNET=10.1.74.1/24`, "-c").written,
      COMBINED,
    );
    assert.equal(
      run(shell, `FLANNEL_SUBNET=10.9.9.1/24\n${SUBNET_ENV}`, "-c").written,
      COMBINED,
      "the last one counts",
    );
    for (const subnet of [
      '"10.1.74.1/24',
      "'10.1.74.1/24\"",
      '"10.1.74.1/24"x',
      "10.1.74.1/24 x",
      "10.1.74.1/24#x",
    ]) {
      const { status, stderr } = run(shell, SUBNET_ENV.replace("10.1.74.1/24", subnet));
      assert.equal(status, 1, subnet);
      assert.match(stderr, /FLANNEL_SUBNET has an invalid value/);
    }
    // As Go flannel's script, which knows two words only.
    assert.match(
      run(shell, SUBNET_ENV.replace("false", "TRUE")).stderr,
      /FLANNEL_IPMASQ has an invalid value/,
    );
  });

  test(`F24 ${name}: a FIFO or a directory as subnet.env is an error at once`, () => {
    const { home } = run(shell, SUBNET_ENV);
    spawnSync("mkfifo", [join(home, "fifo")]);
    for (const input of [join(home, "fifo"), home]) {
      const args = [...shell.slice(1), SCRIPT, "-f", input, "-d", join(home, "out")];
      const { status, stderr } = spawnSync(shell[0]!, args, { encoding: "utf8", timeout: 10_000 });
      assert.equal(status, 1);
      assert.match(stderr, /is not a regular file/);
    }
  });

  test(`${name}: a file that is missing or half-written is an error, and nothing is written`, () => {
    const cases: [text: string | undefined, message: RegExp][] = [
      [undefined, /subnet\.env does not exist; is flanneld running\?/],
      ["", /is missing FLANNEL_SUBNET/],
      [SUBNET_ENV.slice(0, SUBNET_ENV.indexOf("FLANNEL_MTU")), /is missing FLANNEL_MTU/],
      [SUBNET_ENV.slice(0, SUBNET_ENV.indexOf("FLANNEL_IPMASQ")), /is missing FLANNEL_IPMASQ/],
      [SUBNET_ENV.replace("false\n", "fal"), /FLANNEL_IPMASQ has an invalid value/],
    ];
    for (const [text, message] of cases) {
      const { status, stderr, written } = run(shell, text);
      assert.equal(status, 1);
      assert.match(stderr, message);
      assert.equal(written, undefined);
    }
  });

  test(`${name}: values are never evaluated`, () => {
    for (const value of [
      "$(touch pwned)",
      "`touch pwned`",
      '1"; touch pwned; "',
      "10.1.74.1/24 --x",
      "1;reboot",
    ]) {
      const { status, stderr, written, home } = run(shell, SUBNET_ENV.replace("10.1.74.1/24", value));
      assert.equal(status, 1, value);
      assert.match(stderr, /FLANNEL_SUBNET has an invalid value/);
      assert.equal(written, undefined);
      assert.deepEqual(readdirSync(home), ["subnet.env"]);
    }
    assert.ok(!existsSync("pwned"));
  });

  test(`${name}: wrong options print the usage`, () => {
    for (const options of [["-x"], ["-h"], ["-k"], ["word"]]) {
      const { status, stderr, written } = run(shell, SUBNET_ENV, ...options);
      assert.equal(status, 1);
      assert.match(stderr, /-d DOCKER-ENV-FILE/);
      assert.equal(written, undefined);
    }
    assert.match(run(shell, SUBNET_ENV, "-k", "A B").stderr, /'A B' is not the name of a variable/);
  });

  test(`${name}: the file is replaced atomically, world-readable, and no temporary file remains`, () => {
    const first = run(shell, SUBNET_ENV);
    chmodSync(first.output, 0o600);
    const before = statSync(first.output).ino;
    const again = spawnSync(
      shell[0],
      [...shell.slice(1), SCRIPT, "-f", join(first.home, "subnet.env"), "-d", first.output, "-c"],
      { encoding: "utf8" },
    );
    assert.deepEqual([again.status, again.stderr], [0, ""]);
    assert.equal(readFileSync(first.output, "utf8"), COMBINED);
    assert.notEqual(statSync(first.output).ino, before);
    assert.equal(statSync(first.output).mode & 0o777, 0o644);
    assert.deepEqual(readdirSync(join(first.home, "sub dir")), ["docker.env"]);
  });

  test(`${name}: -d may be a link or a device, which is written to and not replaced`, () => {
    const { home } = run(shell, SUBNET_ENV);
    const args = [...shell, SCRIPT, "-f", join(home, "subnet.env"), "-c", "-d", "/dev/stdout"];
    const piped = spawnSync("sh", ["-c", '"$@" | cat', "sh", ...args], { encoding: "utf8" });
    assert.equal(piped.stdout, COMBINED);
    const alias = join(home, "alias");
    symlinkSync(join(home, "target"), alias);
    run(shell, SUBNET_ENV, "-c", "-d", alias);
    assert.equal(readFileSync(join(home, "target"), "utf8"), COMBINED);
  });
}

test("a shell can read the result, and shellcheck reports nothing", () => {
  const { output } = run(["dash"], SUBNET_ENV);
  const read = spawnSync("dash", ["-c", '. "$0"; printf %s "$DOCKER_OPTS"', output], { encoding: "utf8" });
  assert.equal(read.stdout, " --bip=10.1.74.1/24 --ip-masq=true --mtu=1472");
  const check = spawnSync("shellcheck", [SCRIPT], { encoding: "utf8" });
  assert.deepEqual([check.status, check.stdout], [0, ""]);
});
