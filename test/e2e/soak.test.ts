/**
 * F25: whatever happens to a host, its flanneld recovers, and no more packets are lost than the fault allows. A short form
 * of `make soak`: the same faults (test/soak), fewer of them, in an order that is always the same.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { BACKENDS } from "../soak/bed.ts";
import { formatOutcome, formatReport } from "../soak/report.ts";
import { soak } from "../soak/soak.ts";

const FAULTS = 12;
const SEED = 25;

for (const backend of BACKENDS) {
  test(`F25 ${backend}: faults at random cost no more than they may, and every host recovers`, async () => {
    const options = { backend, seed: SEED, faults: FAULTS };
    const outcomes = await soak(options);
    const failed = outcomes.filter(({ failures }) => failures.length > 0);
    assert.deepEqual(
      failed.map(({ fault }) => fault),
      [],
      `${outcomes.map(formatOutcome).join("\n")}\n${failed.map(({ logs }) => logs).join("\n")}\n${formatReport(outcomes, options)}`,
    );
    assert.equal(outcomes.length, FAULTS);
  });
}
