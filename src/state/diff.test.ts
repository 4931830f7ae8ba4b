import assert from "node:assert/strict";
import { test } from "node:test";
import { ADDRESS, FDB, LINK, NEIGHBOUR, ROUTE, stateOf } from "../testing/sample-objects.ts";
import { applyToModel, diffStates } from "./diff.ts";
import { describeObject, type ForeignLink, keyOf, type StateObject, type VxlanLink } from "./objects.ts";

const FOREIGN: ForeignLink = { kind: "link", name: "flannel.1", type: "foreign", linkKind: "bridge" };
const ALL = [ROUTE, NEIGHBOUR, FDB, ADDRESS, LINK];

/** "create link", "remove route"… */
function difference(desired: readonly StateObject[], observed: readonly StateObject[]): string[] {
  const { operations } = diffStates(stateOf(desired), stateOf(observed));
  return operations.map(({ action, object }) => `${action} ${object.kind}`);
}

const MAKE_ALL = ["create link", "create address", "create fdb", "create neighbour", "create route"];

test("objects are created bottom up and removed top down; equal states need nothing", () => {
  assert.deepEqual(difference(ALL, []), MAKE_ALL);
  assert.deepEqual(
    difference([], ALL),
    [...MAKE_ALL].reverse().map((line) => line.replace("create", "remove")),
  );
  assert.deepEqual(
    difference(
      ALL,
      ALL.map((object) => ({ ...object })),
    ),
    [],
  );
});

test("new objects are created before old ones are removed", () => {
  const other = { ...ROUTE, destination: "10.5.3.0/24" } as StateObject;
  assert.deepEqual(difference([LINK, ROUTE], [LINK, other]), ["create route", "remove route"]);
});

test("W20 W26 what the kernel can change in place is changed in place; anything else takes a new device", () => {
  const inPlace: readonly Partial<VxlanLink>[] = [{ mtuBytes: 1400 }, { up: false }];
  for (const change of inPlace) {
    assert.deepEqual(difference(ALL, [...ALL.slice(0, -1), { ...LINK, ...change }]), ["replace link"]);
  }
  const fixed: readonly Partial<VxlanLink>[] = [
    { vni: 2 },
    { lower: "eth1" },
    { local: "192.168.7.9" },
    { port: 4789 },
    { learning: true },
    { gbp: true },
  ];
  for (const change of fixed) {
    assert.deepEqual(
      difference(ALL, [...ALL.slice(0, -1), { ...LINK, ...change }]),
      ["replace link", ...MAKE_ALL.slice(1)],
      "all that stood on it is made again, also where the very object is seen",
    );
  }
});

test("a new MAC costs the device its neighbours", () => {
  const observed = [...ALL.slice(0, -1), { ...LINK, mac: "02:00:00:00:99:99" }];
  assert.deepEqual(difference(ALL, observed), ["replace link", "create neighbour"]);
});

test("objects on a device that is recreated are lost with it", () => {
  const observed = [ROUTE, NEIGHBOUR, { ...LINK, vni: 2 }];
  assert.deepEqual(difference([LINK], observed), ["replace link"]);
});

test("W23 nothing is created or removed on a foreign device of our name", () => {
  const theirs: StateObject = { kind: "address", device: "flannel.1", address: "10.9.0.1/24" };
  for (const desired of [ALL, []]) {
    assert.deepEqual(difference(desired, [FOREIGN, theirs, { ...ROUTE, protocol: 2 } as StateObject]), []);
  }
  const { obstacles } = diffStates(stateOf(ALL), stateOf([FOREIGN]));
  assert.equal(obstacles.length, 1);
  assert.match(
    obstacles[0]!.message,
    /flannel\.1 exists and is not flannel's \(it is a bridge device\): remove/,
  );
  const elsewhere = { ...ROUTE, destination: "10.5.9.0/24", device: "eth0" } as StateObject;
  assert.deepEqual(difference([...ALL, elsewhere], [FOREIGN]), ["create route"], "others go on");
});

test("the model follows the applied operations", () => {
  const model = new Map(stateOf(ALL));
  const apply = (previous: StateObject, object: StateObject) =>
    applyToModel(model, { action: "replace", object, previous });
  const kinds = () => [...model.values()].map(({ kind }) => kind).sort();
  apply(LINK, { ...LINK, mtuBytes: 1400 });
  assert.deepEqual(kinds(), ["address", "fdb", "link", "neighbour", "route"]);
  apply(LINK, { ...LINK, mac: "02:00:00:00:99:99" });
  assert.deepEqual(kinds(), ["address", "fdb", "link", "route"]);
  apply(LINK, { ...LINK, vni: 2 });
  assert.deepEqual(kinds(), ["link"]);
  applyToModel(model, { action: "create", object: ROUTE });
  applyToModel(model, { action: "remove", object: LINK });
  assert.deepEqual(kinds(), []);
});

test("every object has a one-line description and a unique key", () => {
  const texts = [...ALL, FOREIGN].map(describeObject);
  assert.equal(new Set(texts).size, texts.length);
  assert.ok(texts.every((text) => !text.includes("\n") && !text.includes("undefined")));
  assert.equal(new Set(ALL.map(keyOf)).size, ALL.length);
});
