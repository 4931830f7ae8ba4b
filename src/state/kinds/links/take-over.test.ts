import assert from "node:assert/strict";
import { test } from "node:test";
import { link, type OwnLink } from "../link.ts";
import { WIREGUARD_ALIAS } from "./tun.ts";

const BASE = { kind: "link", name: "flannel-wg", mtuBytes: 1420, up: true } as const;
const KERNEL: OwnLink = { ...BASE, type: "wireguard" };
const TUN: OwnLink = { ...BASE, type: "tun" };
const USERSPACE: OwnLink = { ...TUN, alias: WIREGUARD_ALIAS };

test("WireGuard devices of the kernel and of flanneld replace each other; other TUN devices are left alone", () => {
  assert.equal(link.conflict!(KERNEL, USERSPACE), undefined);
  assert.equal(link.conflict!(USERSPACE, KERNEL), undefined);
  assert.match(link.conflict!(TUN, KERNEL)!, /flannel-wg exists and is not flannel's \(it is a tun device\)/);
  assert.match(link.conflict!(KERNEL, TUN)!, /it is a wireguard device/, "the udp backend's");
  assert.deepEqual(link.lostDependents!(KERNEL, USERSPACE), "all");
});
