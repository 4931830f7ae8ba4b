/**
 * strongSwan's charon in a namespace of a test, with a /run of its own: two of them would share a pid file. The kernels of many
 * build machines have no ESP: there strongSwan's own (kernel-libipsec, in UDP) takes its place.
 */

import { execFileSync } from "node:child_process";
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
      ...(hasEsp(netns) ? [] : ["kernel-libipsec"]),
    ],
    commandFor: (program) => [
      ...(["nsenter", `--net=${netns}`, "unshare", "-m", "sh", "-c"] as const),
      `mount -t tmpfs none /run && exec ${program}`,
    ],
  });
  return { charon, directory };
}

/** Whether the kernel has ESP: whether it takes a security association, which is removed again. */
function hasEsp(netns: string): boolean {
  const id = "src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100";
  const key = `aead rfc4106(gcm(aes)) 0x${"00".repeat(20)} 128`;
  try {
    const run = (words: string) =>
      execFileSync("nsenter", [`--net=${netns}`, "ip", "xfrm", "state", ...words.split(" ")], {
        stdio: "pipe",
      });
    run(`add ${id} ${key} mode tunnel`);
    run(`delete ${id}`);
    return true;
  } catch {
    return false;
  }
}
