import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSubnetEnv } from "../../config/subnet-env.ts";
import { containerNetwork } from "./container-network.ts";

const read = (text: string) => containerNetwork(parseSubnetEnv(text));

test("the bridge takes the first address of the subnet, containers the next", () => {
  const network = read(
    "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.43.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
  )!;
  assert.equal(network.mtuBytes, 1450);
  assert.deepEqual(
    network.families.map((family) => [family.prefixAt(1), family.addressAt(2), family.everything]),
    [["10.5.43.1/24", "10.5.43.2", "0.0.0.0/0"]],
  );
});

test("both families", () => {
  const network = read(
    "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.43.1/24\nFLANNEL_IPV6_NETWORK=fd00:5::/48\n" +
      "FLANNEL_IPV6_SUBNET=fd00:5:0:7::1/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n",
  )!;
  assert.deepEqual(
    network.families.map((family) => [family.prefixAt(1), family.addressAt(2), family.everything]),
    [
      ["10.5.43.1/24", "10.5.43.2", "0.0.0.0/0"],
      ["fd00:5:0:7::1/64", "fd00:5:0:7::2", "::/0"],
    ],
  );
});

test("a file that is not complete is no network yet", () => {
  for (const text of ["", "FLANNEL_SUBNET=10.5.43.1/24\n", "FLANNEL_NETWORK=x\nFLANNEL_SUBNET=y\n"]) {
    assert.equal(read(text), undefined);
  }
});
