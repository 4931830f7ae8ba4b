/**
 * flanneld with counted firewall tools: the first directory in its PATH has a script for each, which records its start and
 * executes the real tool. The plain iptables can be either of its two variants.
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type IptablesVariant = "nft" | "legacy";

export interface CountedTools {
  /** Starts flanneld with these tools, with `--ip-masq`. */
  readonly launcher: string;
  /** Processes started so far, by name. */
  started(): readonly string[];
}

/** `directory` is a host's own. */
export function countTools(directory: string, flanneld: string, variant: IptablesVariant): CountedTools {
  const tools = join(directory, "tools");
  const note = join(directory, "started");
  mkdirSync(tools);
  writeFileSync(note, "");
  const put = (name: string, real: string): void => {
    const path = execFileSync("sh", ["-c", `command -v ${real}`], { encoding: "utf8" }).trim();
    writeFileSync(join(tools, name), `#!/bin/sh\necho ${name} >>${note}\nexec ${path} "$@"\n`, {
      mode: 0o755,
    });
  };
  put("nft", "nft");
  for (const family of ["iptables", "ip6tables"]) {
    for (const suffix of ["", "-save", "-restore"]) {
      put(`${family}${suffix}`, `${family}-${variant}${suffix}`);
      for (const each of ["nft", "legacy"]) put(`${family}-${each}${suffix}`, `${family}-${each}${suffix}`);
    }
  }
  const launcher = join(directory, "launcher");
  const environment = `PATH=${tools}:$PATH XTABLES_LOCKFILE=${join(directory, "xtables.lock")}`;
  writeFileSync(launcher, `#!/bin/sh\n${environment} exec ${flanneld} "$@" --ip-masq\n`, { mode: 0o755 });
  return {
    launcher,
    started: () =>
      readFileSync(note, "utf8")
        .split("\n")
        .filter((line) => line !== ""),
  };
}
