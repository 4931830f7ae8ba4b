/**
 * A process of its own that holds a large cluster's policies: prints its resident memory in MB before and after. Run with
 * flanneld's own flags (deploy/image/Dockerfile), in the namespace where nft shall program.
 */

import { createHash } from "node:crypto";
import { silentLogger } from "../../src/base/logger.ts";
import { runCommand } from "../../src/linux/exec.ts";
import { releaseMemory } from "../../src/linux/release-memory.ts";
import { PolicyCompiler } from "../../src/policy/compile.ts";
import { PolicyFilter } from "../../src/policy/policy-filter.ts";
import { largeInput, policyOf } from "./policy-cluster.ts";
import { residentMb } from "./usage.ts";

const digest = (text: string): string => createHash("sha256").update(text).digest("hex");
const collect = (): number => {
  releaseMemory();
  return residentMb(process.pid);
};

// What any flanneld has loaded and run by then.
await runCommand("nft", ["--version"]);
const before = collect();
const input = largeInput();
const compiler = new PolicyCompiler(digest);
const filter = new PolicyFilter({ exec: { run: runCommand }, logger: silentLogger, digest });
await filter.ensure(compiler.compile(input));
for (let index = 0; index < 20; index++) {
  const policy = policyOf(index, 1000 + index);
  input.policies.set(`${policy.namespace}/${policy.name}`, policy);
  await filter.ensure(compiler.compile({ ...input, policies: new Map(input.policies) }));
}
process.stdout.write(JSON.stringify([before, collect()]));
