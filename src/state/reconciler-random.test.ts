/** Random events on a host: the reconciler reaches the desired state, and touches nothing foreign. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FlannelError } from "../base/error.ts";
import { MemoryKernel } from "../recorder/memory-kernel.ts";
import { settle } from "../testing/fake-timers.ts";
import {
  BRIDGE,
  peerObjects,
  RESYNC_MS,
  RTPROT_STATIC,
  routeTo,
  startReconciler,
  stateFor,
  theirRouteTo,
} from "../testing/reconciler-bed.ts";
import { ADDRESS, LINK, stateOf } from "../testing/sample-objects.ts";
import { deviceOf, keyOf, linkKey, RTPROT_FLANNEL, type StateObject, sameObject } from "./objects.ts";

/** One thing that may happen on a host. */
type Step =
  | {
      readonly type: "target";
      readonly peers: readonly number[];
      readonly macShift: number;
      readonly mtuBytes: number;
    }
  | { readonly type: "delete"; readonly pick: number }
  | { readonly type: "put"; readonly object: StateObject }
  /** Somebody puts a bridge, in use, in the place of our device. */
  | { readonly type: "usurp" }
  | { readonly type: "overrun" }
  | { readonly type: "refuse"; readonly kind: StateObject["kind"] }
  | { readonly type: "wait"; readonly ms: number };

const peerNumber = fc.integer({ min: 2, max: 6 });

const strangerObject = fc.oneof(
  peerNumber.map((number): StateObject => theirRouteTo(number)),
  peerNumber.map((number): StateObject => routeTo(number, { protocol: 3, via: undefined, onlink: false })),
  fc.tuple(peerNumber, peerNumber).map(([a, b]) => peerObjects(a, b)[0]!),
  fc.tuple(peerNumber, peerNumber).map(([a, b]) => peerObjects(a, b)[1]!),
  fc.constantFrom<StateObject>(
    BRIDGE,
    { ...LINK, mtuBytes: 1300 },
    { ...LINK, up: false },
    { ...LINK, mac: "02:00:00:00:99:99" },
    { ...LINK, vni: 7 },
    { ...LINK, learning: true },
    { kind: "address", device: "flannel.1", address: "10.5.66.1/24" },
    routeTo(200, { device: "eth0", via: "192.168.7.9", onlink: false, protocol: RTPROT_STATIC }),
  ),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    type: fc.constant("target" as const),
    peers: fc.uniqueArray(peerNumber),
    macShift: fc.integer({ min: 0, max: 2 }),
    mtuBytes: fc.constantFrom(1450, 1400),
  }),
  fc.record({ type: fc.constant("delete" as const), pick: fc.nat(30) }),
  fc.record({ type: fc.constant("put" as const), object: strangerObject }),
  fc.constant({ type: "usurp" as const }),
  fc.constant({ type: "overrun" as const }),
  fc.record({
    type: fc.constant("refuse" as const),
    kind: fc.constantFrom<StateObject["kind"]>("link", "route", "neighbour", "fdb", "address"),
  }),
  fc.record({ type: fc.constant("wait" as const), ms: fc.constantFrom(0, 50, 5000) }),
);

/** Whether an object is another's, so that no operation may ever concern it. */
const isTheirs = (object: StateObject, kernel: MemoryKernel): boolean => {
  if (object.kind === "route" && object.protocol !== RTPROT_FLANNEL && object.device !== "flannel.1")
    return true;
  const link = kernel.objects.get(linkKey(deviceOf(object)));
  return link?.kind === "link" && link.type === "foreign";
};

test("random events: the desired state is reached in the end, and foreign objects were never touched", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const kernel = new MemoryKernel();
      const trespasses: string[] = [];
      /** Keys under which ours was in place: what replaces it there is drift. */
      const established = new Set<string>();
      const noteEstablished = () => {
        for (const [key, object] of kernel.objects) if (!isTheirs(object, kernel)) established.add(key);
      };
      let refused: StateObject["kind"] | undefined;
      kernel.refuse = (operation) =>
        operation.object.kind === refused ? new FlannelError("EBUSY", "busy") : undefined;
      const apply = kernel.apply.bind(kernel);
      kernel.apply = async (operations) => {
        const theirs = [...kernel.objects.values()].filter((object) => isTheirs(object, kernel));
        const results = await apply(operations);
        for (const object of theirs) {
          const isReclaim = object.kind === "route" && established.has(keyOf(object));
          if (kernel.objects.get(keyOf(object)) !== object && !isReclaim) trespasses.push(keyOf(object));
        }
        noteEstablished();
        return results;
      };
      const { hold, timers, status, end } = startReconciler(t, kernel);
      let state = stateFor();
      await hold(state);
      for (const each of steps) {
        switch (each.type) {
          case "target":
            state = stateOf([
              { ...LINK, mtuBytes: each.mtuBytes },
              ADDRESS,
              ...each.peers.flatMap((number) => peerObjects(number, number + each.macShift)),
            ]);
            await hold(state);
            break;
          case "delete": {
            const present = [...kernel.objects.values()].filter(({ kind }) => kind !== "setting");
            const object = present[each.pick % Math.max(1, present.length)];
            if (object !== undefined) kernel.delete(object);
            break;
          }
          case "put":
            try {
              kernel.put(each.object);
            } catch (error) {
              assert.ok(error instanceof FlannelError, String(error)); // the meddler was refused too
            }
            break;
          case "usurp": {
            const link = kernel.objects.get(linkKey("flannel.1"));
            if (link !== undefined) kernel.delete(link);
            kernel.put(BRIDGE);
            kernel.put({ kind: "address", device: "flannel.1", address: "10.5.77.1/24" });
            break;
          }
          case "overrun":
            kernel.overrun();
            break;
          case "refuse":
            refused = each.kind;
            break;
          case "wait":
            await timers.advance(each.ms);
            break;
        }
      }
      refused = undefined;
      await timers.advance(2 * RESYNC_MS);
      assert.deepEqual(trespasses, []);
      const isBlocked = kernel.objects.get(linkKey("flannel.1"))?.kind === "link" && isTheirs(LINK, kernel);
      const problems = status().problems.length;
      let missing = 0;
      for (const [key, object] of state) {
        const have = kernel.objects.get(key);
        if (have !== undefined && sameObject(have, object)) continue;
        missing++;
        assert.ok(isBlocked || (have !== undefined && isTheirs(have, kernel)), `${key} is missing`);
      }
      assert.equal(problems > 0, missing > 0, "a missing object is reported, and nothing else");
      for (const [key, object] of kernel.objects) {
        if (object.kind === "setting" || isTheirs(object, kernel)) continue;
        assert.ok(state.has(key), `${key} is left over`);
      }
      const { length } = kernel.operations;
      kernel.overrun();
      await settle();
      if (missing === 0) assert.equal(kernel.operations.length, length, "and then there is nothing to do");
      await end();
    }),
    { numRuns: 300 },
  );
});
