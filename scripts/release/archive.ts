/** Archives that depend on their contents only: sorted, one owner, one time, and compressed by one thread. */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, openSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";
import type { ReleasePlan } from "./release-plan.ts";

/** A tar file (GNU tar with PAX headers left out) of `names`, which are paths below `directory`. */
export function tarOf(plan: ReleasePlan, directory: string, names: readonly string[]): Buffer {
  return execFileSync("tar", [...tarFlags(plan), "-C", directory, "-cf", "-", ...names], {
    maxBuffer: 1 << 30,
  });
}

/** Writes `directory`, by its own name, as a .tar.xz file. */
export function writeTarXz(plan: ReleasePlan, directory: string, file: string): void {
  const output = openSync(file, "w");
  try {
    const tar = tarOf(plan, dirname(directory), [directory.slice(dirname(directory).length + 1)]);
    // One thread: the size of blocks, and so the bytes, would depend on the number of processors.
    execFileSync("xz", ["-T1", plan.isFast ? "-0" : "-9e", "-c"], {
      input: tar,
      stdio: ["pipe", output, "inherit"],
    });
  } finally {
    closeSync(output);
  }
}

/** Without name and time in the header. */
export const gzip = (plan: ReleasePlan, data: Buffer): Buffer =>
  gzipSync(data, { level: plan.isFast ? 1 : 9 });

/** A quarter smaller than {@link gzip}, and decompressed in a fraction of its time. */
export const zstd = (plan: ReleasePlan, data: Buffer): Buffer =>
  zstdCompressSync(data, {
    params: {
      [constants.ZSTD_c_compressionLevel]: plan.isFast ? 1 : 19,
      [constants.ZSTD_c_checksumFlag]: 1,
    },
  });

export const sha256 = (data: Buffer | string): string => createHash("sha256").update(data).digest("hex");

export const sha256OfFile = (file: string): string => sha256(readFileSync(file));

const tarFlags = ({ epochSeconds }: ReleasePlan): string[] => [
  ...["--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"],
  ...[`--mtime=@${epochSeconds}`, "--mode=u+rwX,go+rX,go-w"],
];
