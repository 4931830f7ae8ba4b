/**
 * The soak test from the command line; exit code 1 if a fault cost more than it may.
 * usage: node test/soak/run.ts [--backend vxlan|host-gw|udp] [--seed N] [--minutes M | --faults N] [--only REGEX]
 *   --backend  default: all, one after the other
 *   --minutes  for each backend; default 2
 *   --only     faults by name; '^(?!.*(SIGKILL|SIGTERM|down))' leaves every flanneld running, to measure its memory
 */

import { parseArgs } from "node:util";
import { BACKENDS } from "./bed.ts";
import { formatOutcome, formatReport } from "./report.ts";
import { type SoakOptions, soak } from "./soak.ts";

const { values } = parseArgs({
  options: {
    backend: { type: "string" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
    minutes: { type: "string", default: "2" },
    faults: { type: "string" },
    only: { type: "string", default: "." },
  },
});
const { seed, minutes, faults, only } = values;
const backends = BACKENDS.filter((name) => values.backend === undefined || name === values.backend);
if (backends.length === 0) throw new Error(`--backend: use one of ${BACKENDS.join(", ")}`);
for (const backend of backends) {
  console.log(`${backend}, seed ${seed}`);
  const options: SoakOptions = {
    ...{ backend, seed: Number(seed), only: new RegExp(only) },
    ...(faults === undefined ? { forMs: Number(minutes) * 60_000 } : { faults: Number(faults) }),
    onOutcome: (outcome) => console.log(`${formatOutcome(outcome)}${outcome.logs && `\n${outcome.logs}`}`),
  };
  const outcomes = await soak(options);
  console.log(`\n${formatReport(outcomes, options)}\n`);
  if (outcomes.some(({ failures }) => failures.length > 0)) process.exitCode = 1;
}
