/** Namespaces and kernel parameters, for real. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readlinkSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { hasCode } from "../../src/base/error.ts";
import { exec } from "../../src/linux/exec.ts";
import { hasLinkType } from "../../src/linux/link-types.ts";
import { openNetlink, openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { createNetns, deleteNetns, netnsPath, withNetns } from "../../src/linux/netns.ts";
import { readSysctl, writeSysctl } from "../../src/linux/sysctl.ts";
import { freshNetns } from "./support.ts";

const current = (): string => readlinkSync("/proc/thread-self/ns/net");

test("a namespace that we make is one that `ip netns` knows, and the other way round", (t) => {
  const name = `ft-${process.pid}-known`;
  t.after(() => deleteNetns(name));
  const before = current();
  createNetns(name);
  assert.equal(current(), before, "back in our own");
  assert.match(execFileSync("ip", ["netns", "list"], { encoding: "utf8" }), new RegExp(`^${name}\\b`, "m"));
  execFileSync("ip", ["netns", "exec", name, "true"]);
  assert.throws(
    () => createNetns(name),
    (error) => hasCode(error, "EEXIST"),
  );
  execFileSync("ip", ["netns", "del", name]);
  execFileSync("ip", ["netns", "add", name]);
  assert.notEqual(withNetns(netnsPath(name), current), before);
  deleteNetns(name);
  deleteNetns(name);
  assert.equal(existsSync(netnsPath(name)), false);
});

test("a name without a namespace behind it, left by a crash, can be removed and made again", (t) => {
  const { name } = freshNetns(t);
  deleteNetns(name);
  writeFileSync(netnsPath(name), "");
  deleteNetns(name);
  createNetns(name);
});

test("a function runs inside and we come back, also when it throws", (t) => {
  const ns = freshNetns(t);
  const before = current();
  assert.notEqual(withNetns(ns.path, current), before);
  assert.throws(
    () =>
      withNetns(ns.path, () => {
        throw new Error("inside");
      }),
    /inside/,
  );
  assert.equal(current(), before);
  for (const path of ["/run/netns/none-such", "/etc/passwd"])
    assert.throws(() => withNetns(path, current), path);
  assert.throws(
    () => openNetlink({ netns: "/run/netns/none-such" }),
    (error) => hasCode(error, "ENOENT"),
  );
  assert.equal(current(), before);
});

test("a program runs in a namespace", async (t) => {
  const ns = freshNetns(t);
  const { stdout } = await exec("ip", ["-json", "link"], { netns: ns.path });
  assert.deepEqual(
    JSON.parse(stdout).map((link: { ifname: string }) => link.ifname),
    ["lo"],
  );
  await assert.rejects(exec("true", [], { netns: "/run/netns/none-such" }), (error) =>
    hasCode(error, "ENOENT"),
  );
});

test("types of devices that the kernel has are known without creating one", (t) => {
  const { path, run } = freshNetns(t);
  using rtnetlink = openRtnetlink({ netns: path });
  const before = run("ip", "-o", "link");
  assert.equal(hasLinkType(rtnetlink, "bridge"), true);
  assert.equal(hasLinkType(rtnetlink, "no-such-type" as "bridge"), false);
  assert.equal(run("ip", "-o", "link"), before);
});

test("sysctl: read and set in a namespace, of devices with dots in their names", (t) => {
  const ns = freshNetns(t);
  const where = { netns: ns.path };
  ns.run("ip", "link", "add", "flannel.1", "type", "vxlan", "id", "1", "dstport", "8472");
  const outside = readSysctl("ipv4/ip_forward");
  writeSysctl("ipv4/ip_forward", "1", where);
  writeSysctl("ipv6/conf/flannel.1/accept_ra", "0", where);
  assert.equal(readSysctl("ipv4/ip_forward", where), "1");
  assert.equal(ns.run("cat", "/proc/sys/net/ipv6/conf/flannel.1/accept_ra"), "0\n");
  assert.equal(readSysctl("ipv4/ip_forward"), outside);
  assert.equal(readSysctl("ipv6/conf/none/accept_ra", where), undefined);
  assert.throws(
    () => writeSysctl("ipv6/conf/none/accept_ra", "0", where),
    /failed to set sysctl net\/ipv6\/conf\/none\/accept_ra to 0: /,
  );
  assert.throws(
    () => writeSysctl("ipv4/ip_forward", "maybe", where),
    (error) => hasCode(error, "EINVAL"),
  );
  for (const key of ["", "ipv4", "../kernel/x", "ipv4/../../kernel/hostname"])
    assert.throws(() => readSysctl(key), /not a sysctl key/);
});
