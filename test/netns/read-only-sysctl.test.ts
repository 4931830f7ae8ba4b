/** A container's /proc/sys is read-only: what cannot be set is told only if something depends on it. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { freshNetns } from "./support.ts";

const MODULE = fileURLToPath(new URL("../../src/linux/device-settings.ts", import.meta.url));
const DEVICE = "flannel.1";
/** A mount namespace with a read-only /proc/sys, then the command. */
const CONTAINER = 'mount -o bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"';

/** Reads accept_ra and, if it is on, sets it to 0, as the reconciler does; what that told, and what is read then. */
const SCRIPT = `
  const { createDeviceSettings } = await import(${JSON.stringify(MODULE)});
  const told = [];
  const say = (level) => (message) => told.push(level + " " + message);
  const settings = createDeviceSettings({ logger: { info: say("I"), warn: say("W"), error: say("E"), debug() {} } });
  const before = settings.read("${DEVICE}", "accept_ra");
  if (before) settings.write("${DEVICE}", "accept_ra", false);
  console.log(JSON.stringify({ before, after: settings.read("${DEVICE}", "accept_ra"), told }));`;

function bed(t: TestContext, sysctls: Readonly<Record<string, string>>) {
  const ns = freshNetns(t);
  ns.run("ip", "link", "add", DEVICE, "type", "bridge");
  for (const [name, value] of Object.entries(sysctls)) {
    ns.run("sysctl", "-qw", `net/ipv6/conf/${DEVICE}/${name}=${value}`);
  }
  const run = (...through: string[]) => {
    const node = [process.execPath, "--no-warnings", "--input-type=module", "-e", SCRIPT];
    return JSON.parse(ns.run("env", ...through, ...node));
  };
  const value = () => ns.run("sysctl", "-n", `net/ipv6/conf/${DEVICE}/accept_ra`).trim();
  return { run, value, contained: () => run("unshare", "--mount", "sh", "-c", CONTAINER, "sh") };
}

test("a host that forwards takes no advertisements: nothing to set, nothing to tell", (t) => {
  const { contained, run, value } = bed(t, { accept_ra: "1", forwarding: "1" });
  assert.deepEqual(contained(), { before: false, after: false, told: [] });
  assert.equal(value(), "1");
  assert.deepEqual(run(), { before: true, after: false, told: [] });
  assert.equal(value(), "0", "set all the same where it can be");
});

test("a host that does not forward, or is told to take them all the same, is warned once", (t) => {
  for (const sysctls of [
    { accept_ra: "1", forwarding: "0" },
    { accept_ra: "2", forwarding: "1" },
  ]) {
    const { before, after, told } = bed(t, sysctls).contained();
    assert.deepEqual([before, after, told.length], [true, false, 1]);
    assert.match(
      told[0],
      /^W cannot set to 0: sysctl net\/ipv6\/conf\/flannel\.1\/accept_ra: EROFS.*: going on/,
    );
  }
});
