/** A container's /proc/sys is read-only: a setting that cannot be written is reported only if something depends on it. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { freshNetns } from "./support.ts";

const MODULE = fileURLToPath(new URL("../../src/linux/device-settings.ts", import.meta.url));
const DEVICE = "flannel.1";
/** A mount namespace with a read-only /proc/sys, then the command. */
const CONTAINER = 'mount -o bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"';

/**
 * Reads accept_ra and, if it is on (or always, as for a device that was just created), sets it to 0, as the reconciler
 * does; what was logged, and what is read then.
 */
const scriptOf = (isNew: boolean) => `
  const { createDeviceSettings } = await import(${JSON.stringify(MODULE)});
  const logged = [];
  const say = (level) => (message) => logged.push(level + " " + message);
  const settings = createDeviceSettings({ logger: { info: say("I"), warn: say("W"), error: say("E"), debug() {} } });
  const before = settings.read("${DEVICE}", "accept_ra");
  if (before || ${isNew}) settings.write("${DEVICE}", "accept_ra", false);
  console.log(JSON.stringify({ before, after: settings.read("${DEVICE}", "accept_ra"), logged }));`;

function bed(t: TestContext, sysctls: Readonly<Record<string, string>>) {
  const ns = freshNetns(t);
  ns.run("ip", "link", "add", DEVICE, "type", "bridge");
  for (const [name, value] of Object.entries(sysctls)) {
    ns.run("sysctl", "-qw", `net/ipv6/conf/${DEVICE}/${name}=${value}`);
  }
  const run = (isNew: boolean, ...through: string[]) => {
    const node = [process.execPath, "--no-warnings", "--input-type=module", "-e", scriptOf(isNew)];
    return JSON.parse(ns.run("env", ...through, ...node));
  };
  const value = () => ns.run("sysctl", "-n", `net/ipv6/conf/${DEVICE}/accept_ra`).trim();
  return {
    run,
    value,
    contained: (isNew = false) => run(isNew, "unshare", "--mount", "sh", "-c", CONTAINER, "sh"),
  };
}

test("a host that forwards takes no advertisements: nothing to set, nothing to log", (t) => {
  const { contained, run, value } = bed(t, { accept_ra: "1", forwarding: "1" });
  assert.deepEqual(contained(), { before: false, after: false, logged: [] });
  assert.equal(value(), "1");
  assert.deepEqual(run(false), { before: true, after: false, logged: [] });
  assert.equal(value(), "0", "set where it can be");
});

test("F19 the same when the device is created: the setting is written without being read before", (t) => {
  const { contained, value } = bed(t, { accept_ra: "1", forwarding: "1" });
  assert.deepEqual(contained(true), { before: false, after: false, logged: [] });
  assert.equal(value(), "1");
});

test("a host that does not forward, or has accept_ra 2, is warned once", (t) => {
  for (const sysctls of [
    { accept_ra: "1", forwarding: "0" },
    { accept_ra: "2", forwarding: "1" },
  ]) {
    const { before, after, logged } = bed(t, sysctls).contained();
    assert.deepEqual([before, after, logged.length], [true, false, 1]);
    assert.match(
      logged[0],
      /^W Continuing without a setting of flannel\.1: failed to set sysctl net\/ipv6\/conf\/flannel\.1\/accept_ra to 0: EROFS/,
    );
  }
});
