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

  test(`${name}: reads what flanneld writes, IPv6 lines included`, () => {
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

  test(`${name}: comments, blank lines, carriage returns and a missing last line end do no harm`, () => {
    const text = `# flannel\r\n\r\nX=1\r\n${SUBNET_ENV.trimEnd().replaceAll("\n", "\r\n")}`;
    assert.equal(run(shell, text, "-c").written, COMBINED);
  });

  test(`${name}: a file that is missing or half-written is an error and writes nothing`, () => {
    const cases: [text: string | undefined, message: RegExp][] = [
      [undefined, /subnet\.env does not exist; is flanneld running\?/],
      ["", /is missing FLANNEL_SUBNET/],
      [SUBNET_ENV.slice(0, SUBNET_ENV.indexOf("FLANNEL_MTU")), /is missing FLANNEL_MTU/],
      [SUBNET_ENV.slice(0, SUBNET_ENV.indexOf("FLANNEL_IPMASQ")), /is missing FLANNEL_IPMASQ/],
      [SUBNET_ENV.replace("false\n", "fal"), /FLANNEL_IPMASQ has an unusable value/],
    ];
    for (const [text, message] of cases) {
      const { status, stderr, written } = run(shell, text);
      assert.equal(status, 1);
      assert.match(stderr, message);
      assert.equal(written, undefined);
    }
  });

  test(`${name}: values are never run`, () => {
    for (const value of [
      "$(touch pwned)",
      "`touch pwned`",
      '1"; touch pwned; "',
      "10.1.74.1/24 --x",
      "1;reboot",
    ]) {
      const { status, stderr, written, home } = run(shell, SUBNET_ENV.replace("10.1.74.1/24", value));
      assert.equal(status, 1, value);
      assert.match(stderr, /FLANNEL_SUBNET has an unusable value/);
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

  test(`${name}: the file is replaced whole, readable by all, and nothing else is left`, () => {
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

  test(`${name}: -d may be a link or a device, which is written to and stays`, () => {
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

test("a shell can read the result, and shellcheck has nothing to say", () => {
  const { output } = run(["dash"], SUBNET_ENV);
  const read = spawnSync("dash", ["-c", '. "$0"; printf %s "$DOCKER_OPTS"', output], { encoding: "utf8" });
  assert.equal(read.stdout, " --bip=10.1.74.1/24 --ip-masq=true --mtu=1472");
  const check = spawnSync("shellcheck", [SCRIPT], { encoding: "utf8" });
  assert.deepEqual([check.status, check.stdout], [0, ""]);
});
