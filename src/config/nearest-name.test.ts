import assert from "node:assert/strict";
import { test } from "node:test";
import { suggest } from "./nearest-name.ts";
import { FLANNELD_FLAGS } from "./options-table.ts";

const NAMES = Object.keys(FLANNELD_FLAGS);

test("a misspelt flag is found: letters swapped, left out, doubled, the other separator, another case", () => {
  const cases = {
    ifcae: "iface",
    "ip-mask": "ip-masq",
    "etcd-endpoint": "etcd-endpoints",
    etcd_endpoints: "etcd-endpoints",
    "etcd-endpionts": "etcd-endpoints",
    "log-dir": "log_dir",
    "Public-IP": "public-ip",
    subnetfile: "subnet-file",
    helthz_port: "healthz-port",
  };
  for (const [written, name] of Object.entries(cases)) assert.equal(suggest(written, NAMES), name, written);
});

test("what resembles no name gets no suggestion", () => {
  for (const written of ["no-such-flag", "x", "", "bogus", "etcd-secret-of-mine", "9".repeat(200)]) {
    assert.equal(suggest(written, NAMES), undefined, written);
  }
});
