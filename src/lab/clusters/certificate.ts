/** A certificate for a server that only its own clients know. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { exec } from "../../linux/exec.ts";

const DAYS = 3650;

/**
 * Made out to an IP address and signed by itself: clients take it as their authority too. PEM texts. Throws FlannelError.
 *
 * @param directory where it may leave the key for a moment, readable by root only
 */
export async function makeCertificate(
  directory: string,
  commonName: string,
  address: string,
): Promise<{ readonly cert: string; readonly key: string }> {
  const scratch = mkdtempSync(join(directory, "tls-")); // 0700
  const at = (name: string): string => join(scratch, name);
  try {
    await exec("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
      ...["-subj", `/CN=${commonName}`, "-addext", `subjectAltName=IP:${address}`],
      ...["-days", String(DAYS), "-keyout", at("key"), "-out", at("cert")],
    ]);
    return { cert: readFileSync(at("cert"), "utf8"), key: readFileSync(at("key"), "utf8") };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
