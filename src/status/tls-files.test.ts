import assert from "node:assert/strict";
import { copyFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { makeCertificates } from "../../test/support/certificates.ts";
import { TlsReload } from "./tls-files.ts";

test("an unusable file is reported once for each reason, and the previous certificate stays until it is usable again", () => {
  using certificates = makeCertificates();
  const { cert, key } = certificates.server;
  const certFile = join(dirname(cert), "reloaded.pem");
  const lines: string[] = [];
  const note = (level: string) => (line: string) => void lines.push(`${level} ${line}`);
  const logger = { debug: note("D"), info: note("I"), warn: note("W"), error: note("E") };
  copyFileSync(cert, certFile);
  const reload = new TlsReload({ certFile, keyFile: key, clientCaFile: undefined }, logger);
  assert.ok(reload.read());
  assert.deepEqual(lines, []);

  writeFileSync(certFile, "-----BEGIN CERTIFICATE-----\nMIIB");
  for (let turn = 0; turn < 3; turn++) assert.equal(reload.read(), undefined);
  assert.equal(lines.length, 1);
  assert.match(
    lines[0]!,
    /^W Failed to reload the certificate of the status server; the previous one stays in use: --status-tls-cert-file: .*reloaded\.pem contains no usable certificate in PEM form/,
  );
  copyFileSync(cert, certFile);
  assert.ok(reload.read());
  assert.deepEqual(lines.slice(1), ["I Reloaded the certificate of the status server"]);
});
