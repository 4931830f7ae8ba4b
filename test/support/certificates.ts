/** Certificates for tests, made with openssl: an authority, a server on the loopback, a client, and a stranger. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Paths of PEM files. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

export interface Certificates extends Disposable {
  /** Certificate of the authority that signed `server` and `client`. */
  readonly ca: string;
  /** Made out to 127.0.0.1 and localhost. */
  readonly server: KeyPair;
  /** Common name "flannel". */
  readonly client: KeyPair;
  /** A client signed by an authority of its own. */
  readonly stranger: KeyPair & { readonly ca: string };
  /** A server's certificate by the right authority, made out to another name. */
  readonly misnamed: KeyPair;
}

export function makeCertificates(): Certificates {
  const directory = mkdtempSync(join(tmpdir(), `flannel-certs-${process.pid}-`));
  const at = (name: string) => join(directory, name);
  const openssl = (...args: string[]) =>
    execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

  const authority = (name: string): KeyPair => {
    const pair = { cert: at(`${name}.pem`), key: at(`${name}-key.pem`) };
    openssl(
      "req",
      "-x509",
      ...newKey,
      "-keyout",
      pair.key,
      "-out",
      pair.cert,
      "-days",
      "2",
      "-subj",
      `/CN=${name}`,
    );
    return pair;
  };
  const signed = (name: string, signer: KeyPair, extensions: string): KeyPair => {
    const pair = { cert: at(`${name}.pem`), key: at(`${name}-key.pem`) };
    const request = at(`${name}.csr`);
    const extensionFile = at(`${name}.ext`);
    writeFileSync(extensionFile, extensions);
    openssl("req", ...newKey, "-keyout", pair.key, "-out", request, "-subj", `/CN=${name}`);
    openssl(
      ...["x509", "-req", "-in", request, "-CA", signer.cert, "-CAkey", signer.key, "-CAcreateserial"],
      ...["-out", pair.cert, "-days", "2", "-extfile", extensionFile],
    );
    return pair;
  };

  const usage = "extendedKeyUsage=serverAuth,clientAuth";
  const ca = authority("ca");
  const otherCa = authority("other-ca");
  return {
    ca: ca.cert,
    server: signed("server", ca, `subjectAltName=IP:127.0.0.1,DNS:localhost\n${usage}`),
    client: signed("flannel", ca, usage),
    stranger: { ...signed("stranger", otherCa, usage), ca: otherCa.cert },
    misnamed: signed("misnamed", ca, `subjectAltName=DNS:etcd.example.com\n${usage}`),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
