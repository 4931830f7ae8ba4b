/** Choosing a subnet when 5,000 of 60,000 are taken: the whole choice as a starting host makes it, and the drawing alone. */

import { parsePrefix } from "../src/address/prefix.ts";
import type { FamilyConfig } from "../src/config/network-family.ts";
import { createFreeSubnets, drawSubnet } from "../src/lease/allocation.ts";
import type { Benchmark } from "./support/benchmark.ts";
import { median } from "./support/measurement.ts";

const TAKEN = 5_000;
const SUBNETS = 60_000;
const PICKS_PER_SAMPLE = 1_000;
/** Warming up: the code is compiled after some thousand picks. */
const WARM_UP_SAMPLES = 5;

export const allocation: Benchmark = {
  name: "allocation",
  async run({ turns }) {
    const config: FamilyConfig = {
      network: parsePrefix("10.0.0.0/8")!,
      subnetLength: 24,
      subnetMin: subnet(0),
      subnetMax: subnet(SUBNETS - 1),
    };
    // Every second one: no two can be merged, and the first free ones lie between them.
    const taken = Array.from({ length: TAKEN }, (_, index) => subnet(index * 2));
    const free = createFreeSubnets(config, taken);
    const draw = () => drawSubnet(free, Math.random);
    const first = timeUs(() => drawSubnet(createFreeSubnets(config, taken), Math.random), 1);
    for (let sample = 0; sample < WARM_UP_SAMPLES; sample++) timeUs(draw, PICKS_PER_SAMPLE);
    const draws = Array.from({ length: turns }, () => timeUs(draw, PICKS_PER_SAMPLE));
    const wholes = Array.from({ length: turns }, () =>
      timeUs(() => drawSubnet(createFreeSubnets(config, taken), Math.random), 10),
    );
    const where = `${TAKEN.toLocaleString("en-US")} of ${SUBNETS.toLocaleString("en-US")} taken`;
    return [
      { measure: `${where}: drawing one`, value: median(draws), unit: "µs", samples: draws },
      { measure: `${where}: with reading all leases`, value: median(wholes), unit: "µs", samples: wholes },
      { measure: `${where}: the same in a process just started`, value: first, unit: "µs" },
    ];
  },
};

const subnet = (index: number) => parsePrefix(`10.${(index >> 8) & 255}.${index & 255}.0/24`)!;

function timeUs(action: () => unknown, times: number): number {
  const startedMs = performance.now();
  for (let time = 0; time < times; time++) action();
  return ((performance.now() - startedMs) * 1_000) / times;
}
