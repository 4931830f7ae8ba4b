/** What a benchmark is: one file in bench/, run by bench/run.ts. */

import type { Bed } from "./bed.ts";
import type { Measurement } from "./measurement.ts";

export interface BenchContext {
  readonly bed: Bed;
  /** The executable under test. */
  readonly flanneld: string;
  /** How often each thing is measured, for medians. */
  readonly turns: number;
  /** Says what is being done now. */
  readonly progress: (text: string) => void;
}

export interface Benchmark {
  /** To be named on the command line. */
  readonly name: string;
  /** Throws if something broke; a missed bar is not that. */
  readonly run: (context: BenchContext) => Promise<Measurement[]>;
}
