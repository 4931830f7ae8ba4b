/**
 * strongSwan's charon in a namespace of a test, with a /run of its own: two of them would share a pid file. The kernels of many
 * build machines have no ESP, so strongSwan's own (kernel-libipsec, in UDP) takes its place.
 */

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Logger } from "../../src/base/logger.ts";
import { systemTimers } from "../../src/base/timers.ts";
import { Charon } from "../../src/ipsec/charon.ts";

/** `directory` holds its configuration and socket; the caller removes it. */
export function makeCharon(
  netns: string,
  logger: Logger,
): { readonly charon: Charon; readonly directory: string } {
  const directory = mkdtempSync(join(tmpdir(), "flannel-charon-"));
  const charon = new Charon({
    ...{ directory, socketPath: join(directory, "vici"), logger, timers: systemTimers },
    plugins: [
      ...["random", "nonce", "openssl", "aes", "sha1", "sha2", "hmac", "kdf", "gmp", "gcm", "curve25519"],
      "kernel-libipsec",
    ],
    commandFor: (program) => [
      ...(["nsenter", `--net=${netns}`, "unshare", "-m", "sh", "-c"] as const),
      `mount -t tmpfs none /run && exec ${program}`,
    ],
  });
  return { charon, directory };
}
