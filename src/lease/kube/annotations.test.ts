import assert from "node:assert/strict";
import { test } from "node:test";
import { hasCode } from "../../base/error.ts";
import { annotationNames } from "./annotations.ts";

test("a prefix gets a slash, and with a slash and a name a hyphen, as in Go flannel", () => {
  const cases = {
    "flannel.alpha.coreos.com": "flannel.alpha.coreos.com/backend-data",
    "flannel.alpha.coreos.com/": "flannel.alpha.coreos.com/backend-data",
    "flannel.alpha.coreos.com/blue": "flannel.alpha.coreos.com/blue-backend-data",
    "flannel.alpha.coreos.com/blue-": "flannel.alpha.coreos.com/blue-backend-data",
    "a_b.c/my-net_1": "a_b.c/my-net_1-backend-data",
  };
  for (const [prefix, name] of Object.entries(cases)) assert.equal(annotationNames(prefix).backendData, name);
  assert.deepEqual(annotationNames("x.y"), {
    managed: "x.y/kube-subnet-manager",
    backendType: "x.y/backend-type",
    backendData: "x.y/backend-data",
    backendV6Data: "x.y/backend-v6-data",
    publicIp: "x.y/public-ip",
    publicIpv6: "x.y/public-ipv6",
    nodePublicIp: "x.y/node-public-ip",
    nodePublicIpv6: "x.y/node-public-ipv6",
    publishedIp: "x.y/public-ip-overwrite",
    publishedIpv6: "x.y/public-ipv6-overwrite",
  });
});

test("an invalid prefix is rejected with an example", () => {
  for (const prefix of [
    "",
    "/",
    "flannel",
    "a.b/c/d",
    "Flannel.io",
    "a..b",
    "a.b/C",
    "a.b/c d",
    ".b",
    "a.b//",
  ]) {
    assert.throws(
      () => annotationNames(prefix),
      (error) =>
        hasCode(error, "CONFIG") &&
        /^ConfigError: --kube-annotation-prefix: .*flannel\.alpha\.coreos\.com/.test(String(error)),
      prefix,
    );
  }
});
