/**
 * A fresh Debian: a root file system with systemd, dpkg and rpm, as mmdebstrap makes it. It is made once for each list of
 * packages and kept; tests see copies (Systemd.boot).
 */

import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { exec } from "../../src/linux/exec.ts";

const CACHE = fileURLToPath(new URL("../../node_modules/.cache/debian-root", import.meta.url));
const RELEASE = "bookworm";
/** Besides the essential ones: what the packages depend on, and rpm. */
const PACKAGES = ["systemd", "rpm", "libatomic1", "libstdc++6", "iptables"];
/** Downloads about 60 MB, and unpacks 190. */
const DEADLINE_MS = 400_000;

/** Its path. */
export async function debianRoot(): Promise<string> {
  const place = join(CACHE, `${RELEASE}-${PACKAGES.join("-")}`);
  if (existsSync(place)) return place;
  mkdirSync(dirname(place), { recursive: true });
  const fresh = mkdtempSync(join(CACHE, "fresh-"));
  const leaveOut = ["doc", "man", "locale", "info"].map(
    (kind) => `--dpkgopt=path-exclude=/usr/share/${kind}/*`,
  );
  try {
    await exec(
      "mmdebstrap",
      [
        ...["--quiet", "--mode=root", "--variant=essential", "--dpkgopt=force-unsafe-io", ...leaveOut],
        ...[
          '--aptopt=Acquire::Languages "none"',
          `--include=${PACKAGES.join(",")}`,
          RELEASE,
          join(fresh, "root"),
        ],
      ],
      { timeoutMs: DEADLINE_MS },
    );
    renameSync(join(fresh, "root"), place);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  return place;
}
