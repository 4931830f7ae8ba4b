/**
 * A release without the packages (packages.test.ts has those): made twice, in different surroundings, the bytes are the same;
 * the tree runs from where it is unpacked, Docker loads and runs the image's archive, and Helm installs from the directory.
 * The image's root file system is a small one of the test's own (deploy-image.test.ts has the real one).
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { exec } from "../../src/linux/exec.ts";
import { atExit } from "../support/at-exit.ts";
import { DockerEngine } from "../support/docker.ts";
import { TestHosts } from "../support/hosts.ts";
import { helm } from "../support/kube-tools.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const ARCHITECTURE = process.arch === "arm64" ? "arm64" : "amd64";
const VERSION = "0.0.9";
const REPOSITORY = "registry.example/net/flannel-ts";
/** Of the tree, unpacked, and packed with little compression; docs/packages.md has the figures. */
const MAX_TREE_MB = 130;
const MAX_PACKED_MB = 40;

/** The commit's time. */
const epoch = execFileSync("git", ["-C", ROOT, "show", "-s", "--format=%ct"], { encoding: "utf8" }).trim();
const place = mkdtempSync(join(tmpdir(), `flannel-release-test-${process.pid}-`));
const removeAll = () => rmSync(place, { recursive: true, force: true });
const callOffExit = atExit(removeAll);
const out = join(place, "first");
const tree = join(place, "else where", `flannel-ts-${VERSION}`);
before(async () => {
  const assembled = join(place, "assembled");
  const image = join(assembled, `root-${ARCHITECTURE}`);
  mkdirSync(join(image, "opt/bin"), { recursive: true });
  mkdirSync(join(image, "bin"));
  copyFileSync("/bin/busybox", join(image, "bin/busybox"));
  writeFileSync(join(image, "opt/bin/flanneld"), '#!/bin/busybox sh\necho "$MALLOC_ARENA_MAX $*"\n', {
    mode: 0o755,
  });
  symlinkSync("flanneld", join(image, "opt/bin/link"));
  copyFileSync(join(ROOT, "deploy/image/Dockerfile"), join(assembled, "Dockerfile"));
  writeFileSync(join(assembled, `packages-${ARCHITECTURE}.txt`), `libc6 2.36-9+deb12u10 ${ARCHITECTURE}\n`);
  const make = (directory: string, environment: Readonly<Record<string, string>>) =>
    exec(
      process.execPath,
      [
        ...[
          join(ROOT, "scripts/release.ts"),
          "--fast",
          "--only=tree,image,chart",
          `--architectures=${ARCHITECTURE}`,
        ],
        ...[
          `--version=${VERSION}`,
          `--image=${REPOSITORY}`,
          `--assembled=${assembled}`,
          `--out=${directory}`,
        ],
      ],
      { timeoutMs: 300_000, env: { ...process.env, ...environment } },
    );
  const elsewhere = join(place, "tmp");
  mkdirSync(elsewhere);
  await Promise.all([
    make(out, {}),
    make(join(place, "second"), { TMPDIR: elsewhere, TZ: "Asia/Shanghai", LC_ALL: "C", HOME: elsewhere }),
  ]);
  mkdirSync(join(place, "else where"));
  execFileSync("tar", [
    "-xJf",
    join(out, `flannel-ts-${VERSION}-linux-${ARCHITECTURE}.tar.xz`),
    "-C",
    join(place, "else where"),
  ]);
});
after(() => {
  callOffExit();
  removeAll();
});

test("made twice from one commit, all files are the same", () => {
  const sums = readFileSync(join(out, "SHA256SUMS"), "utf8");
  assert.equal(readFileSync(join(place, "second/SHA256SUMS"), "utf8"), sums);
  const provenance = `flannel-ts-${VERSION}.intoto.json`;
  assert.equal(
    readFileSync(join(place, "second", provenance), "utf8"),
    readFileSync(join(out, provenance), "utf8"),
  );
  execFileSync("sha256sum", ["--check", "--strict", "--quiet", "SHA256SUMS"], { cwd: out });
  const named = sums
    .trimEnd()
    .split("\n")
    .map((line) => line.slice(66));
  assert.deepEqual(
    named,
    globSync("*", { cwd: out })
      .filter((file) => !/SHA256SUMS|intoto/.test(file))
      .sort(),
  );
  const { subject } = JSON.parse(readFileSync(join(out, provenance), "utf8")) as {
    subject: readonly { readonly name: string; readonly digest: { readonly sha256: string } }[];
  };
  assert.equal(subject.map(({ name, digest }) => `${digest.sha256}  ${name}\n`).join(""), sums);
});

test("nothing in the archives has another owner, another time, or is writable for others", () => {
  for (const file of globSync(join(out, "*.{tar,tgz,tar.xz}"))) {
    const list = execFileSync(
      "tar",
      ["--list", "--verbose", "--full-time", "--numeric-owner", "--utc", "-f", file],
      { encoding: "utf8" },
    );
    for (const line of list.trimEnd().split("\n")) {
      const [mode, owner, , date, time] = line.split(/\s+/);
      assert.equal(owner, "0/0", line);
      assert.equal(Date.parse(`${date}T${time}Z`) / 1000, Number(epoch), line);
      if (!mode!.startsWith("l")) assert.match(mode!, /^.{5}-..-.$/, line);
    }
  }
});

test("the tree runs where it is unpacked, and is small", async () => {
  const run = async (program: string, ...args: string[]) => (await exec(program, args)).stdout;
  assert.match(await run(join(tree, "bin/flanneld"), "--version"), /^v\d/);
  assert.match(await run(join(tree, "bin/flannelctl"), "help"), /flannelctl/);
  symlinkSync(join(tree, "bin/flanneld"), join(place, "flanneld"));
  assert.match(await run(join(place, "flanneld"), "--version"), /^v\d/);
  const plugin = await exec(join(tree, "bin/flannel"), [], {
    env: { CNI_COMMAND: "VERSION" },
    input: '{"cniVersion":"1.0.0"}',
  });
  assert.match(plugin.stdout, /supportedVersions/);
  const megabytes = Number((await run("du", "--summarize", "--bytes", tree)).split("\t")[0]) / 1e6;
  const packed = readFileSync(join(out, `flannel-ts-${VERSION}-linux-${ARCHITECTURE}.tar.xz`)).length / 1e6;
  assert.ok(megabytes < MAX_TREE_MB && packed < MAX_PACKED_MB, `${megabytes} MB, ${packed} MB packed`);
});

test("Docker loads the image's archive and runs it with the Dockerfile's settings", async () => {
  await using bed = new TestHosts("release", 1);
  await using engine = await DockerEngine.start(bed.hosts[0]!, ["--bridge=none", "--iptables=false"]);
  const archive = join(out, `flannel-ts-${VERSION}-image-${ARCHITECTURE}.tar`);
  assert.match(await engine.docker(["load", "--input", archive]), new RegExp(`${REPOSITORY}:${VERSION}`));
  const image = `${REPOSITORY}:${VERSION}`;
  assert.equal(await engine.docker(["run", "--rm", "--network=none", image, "--version"]), "1 --version");
  const labels = JSON.parse(
    await engine.docker(["inspect", "--format={{json .Config.Labels}}", image]),
  ) as object;
  assert.equal(labels["org.opencontainers.image.version" as keyof typeof labels], VERSION);
});

test("the image's archive is an OCI image layout: every digest is that of its blob", () => {
  const layout = join(place, "layout");
  mkdirSync(layout);
  execFileSync("tar", ["-xf", join(out, `flannel-ts-${VERSION}-image-${ARCHITECTURE}.tar`), "-C", layout]);
  for (const blob of globSync(join(layout, "blobs/sha256/*")))
    assert.equal(createHash("sha256").update(readFileSync(blob)).digest("hex"), basename(blob));
  const read = (digest: string) =>
    JSON.parse(readFileSync(join(layout, "blobs", digest.replace(":", "/")), "utf8"));
  const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8"));
  assert.equal(JSON.parse(readFileSync(join(layout, "oci-layout"), "utf8")).imageLayoutVersion, "1.0.0");
  const manifest = read(index.manifests[0].digest);
  const config = read(manifest.config.digest);
  assert.equal(config.architecture, ARCHITECTURE);
  const layer = execFileSync(
    "gzip",
    ["--decompress", "--stdout", join(layout, "blobs", manifest.layers[0].digest.replace(":", "/"))],
    { maxBuffer: 1 << 28 },
  );
  assert.equal(`sha256:${createHash("sha256").update(layer).digest("hex")}`, config.rootfs.diff_ids[0]);
});

test("a static web server over the directory is a Helm repository, with the release's image", async () => {
  const server = createServer((request, response) => {
    const file = join(out, basename(request.url!));
    response.end(readFileSync(file));
  }).listen(0, "127.0.0.1");
  try {
    await new Promise((resolve) => server.once("listening", resolve));
    const repository = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const env = { ...process.env, HOME: place };
    const { stdout } = await helm(
      ["template", "flannel", "flannel", "--repo", repository, "--version", VERSION],
      { env },
    );
    assert.match(stdout, new RegExp(`image: "?${REPOSITORY}:${VERSION}`));
  } finally {
    server.close();
  }
  const manifest = readFileSync(join(out, "kube-flannel.yml"), "utf8");
  const images = [...manifest.matchAll(/image: (\S+)/g)].map((match) => match[1]);
  assert.deepEqual(new Set(images), new Set([`${REPOSITORY}:${VERSION}`]));
});

test("the bill of materials names what is shipped, once", () => {
  const { components } = JSON.parse(readFileSync(join(out, `flannel-ts-${VERSION}.cdx.json`), "utf8")) as {
    readonly components: readonly {
      readonly name: string;
      readonly version: string;
      readonly purl: string;
    }[];
  };
  const purls = components.map(({ purl }) => purl);
  assert.equal(new Set(purls).size, purls.length);
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  for (const [name, version] of Object.entries({ ...dependencies, ...optionalDependencies }))
    assert.ok(
      components.some((component) => component.name === name && component.version === version),
      name,
    );
  assert.ok(components.some(({ name }) => name === "rquickjs"));
  assert.ok(purls.includes(`pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=${ARCHITECTURE}`));
  assert.ok(!components.some(({ name }) => /esbuild|win32|biome/.test(name)));
  assert.equal(parse(readFileSync(join(out, "index.yaml"), "utf8")).entries.flannel[0].version, VERSION);
});
