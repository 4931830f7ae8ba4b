/** Passes of the keeper: who is answered when, and what failures do. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { FlannelError } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import { systemTimers } from "../base/timers.ts";
import type { DesiredFilter } from "../policy/model.ts";
import { PolicyKeeper } from "./policy-keeper.ts";

const filterOf = (): DesiredFilter => ({
  ...{ ingress: new Map(), egress: new Map(), chains: new Map(), sets: new Map() },
});

function makeKeeper(apply: (filter: DesiredFilter) => Promise<void>) {
  const bed = { filter: undefined as DesiredFilter | undefined, problems: [] as (string | undefined)[] };
  const stop = new AbortController();
  const keeper = new PolicyKeeper({
    compile: () => bed.filter,
    apply,
    onProblem: (problem) => void bed.problems.push(problem),
    ...{ logger: silentLogger, timers: systemTimers },
  });
  const running = keeper.run(stop.signal);
  return {
    ...{ bed, keeper, signal: stop.signal },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

test("a pod is answered by a pass that began after it was reported, and one pass answers all that wait", async () => {
  const gates: PromiseWithResolvers<void>[] = [];
  const applied: DesiredFilter[] = [];
  await using made = makeKeeper(async (filter) => {
    applied.push(filter);
    const gate = Promise.withResolvers<void>();
    gates.push(gate);
    await gate.promise;
  });
  const { bed, keeper, signal } = made;
  const answers: string[] = [];
  const program = (name: string) =>
    keeper.program(signal).then((problem) => answers.push(`${name} ${problem}`));
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const first = program("first");
  await turn();
  assert.deepEqual(applied, [], "not everything is known yet");
  bed.filter = filterOf();
  keeper.change();
  await turn();
  const late = Promise.all([program("second"), program("third")]);
  const next = filterOf();
  bed.filter = next;
  gates[0]!.resolve();
  await first;
  assert.deepEqual(answers, ["first undefined"]);
  while (gates.length < 2) await turn();
  gates[1]!.resolve();
  await late;
  assert.deepEqual(answers.slice(1), ["second undefined", "third undefined"]);
  assert.deepEqual([applied.length, keeper.applied, keeper.passes], [2, next, 2]);
  assert.deepEqual(bed.problems, ["pods and policies of the cluster not received yet", undefined]);
  await keeper.program(signal);
  assert.equal(applied.length, 2, "an unchanged filter is not programmed again");
});

test("a failure answers with its problem, and is retried until it is over", async () => {
  let isBroken = true;
  let attempts = 0;
  await using made = makeKeeper(async () => {
    attempts++;
    if (isBroken) throw new FlannelError("FIREWALL_REFUSED", "nft said no");
  });
  const { bed, keeper, signal } = made;
  bed.filter = filterOf();
  assert.equal(await keeper.program(signal), "nft said no");
  assert.deepEqual([keeper.problem, keeper.applied], ["nft said no", undefined]);
  isBroken = false;
  assert.equal(await keeper.program(signal), undefined);
  keeper.recheck();
  await keeper.program(signal);
  assert.equal(attempts, 3, "a table that may have changed is programmed although the filter is the same");
  assert.deepEqual(bed.problems.slice(1), ["nft said no", undefined]);
});

test("who waits when flanneld stops is answered", async () => {
  const made = makeKeeper(async () => {});
  const answer = made.keeper.program(made.signal);
  await made[Symbol.asyncDispose]();
  assert.equal(await answer, "flanneld is stopping");
});
