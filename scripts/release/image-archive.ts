/**
 * The image as files, without Docker: OCI image layouts (image-spec v1.1) in tar files. In one the layer is compressed with
 * zstd, which containerd, CRI-O, podman, skopeo and Docker from 23 on read. In the other it is compressed with gzip, and the
 * index that "docker load" reads is beside it.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzip, sha256, tarOf, zstd } from "./archive.ts";
import type { Architecture, ReleasePlan } from "./release-plan.ts";

interface ImageConfig {
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly Labels: Readonly<Record<string, string>>;
}

const MEDIA = "application/vnd.oci.image";

/**
 * Writes flannel-ts-VERSION-image-ARCHITECTURE.tar and …-zstd.tar. `assembled` has the Dockerfile and root-ARCHITECTURE; `staging`: a directory
 * for the archive's files. Throws Error if the Dockerfile has an instruction that is not understood here.
 */
export function writeImageArchive(
  plan: ReleasePlan,
  { name: architecture }: Architecture,
  assembled: string,
  staging: string,
): void {
  const files = tarOf(plan, join(assembled, `root-${architecture}`), ["."]);
  for (const compression of ["gzip", "zstd"] as const) {
    const place = join(staging, compression);
    writeLayout(plan, { architecture, assembled, files, compression }, place);
    const suffix = compression === "gzip" ? "" : "-zstd";
    writeFileSync(
      join(plan.out, `flannel-ts-${plan.version}-image-${architecture}${suffix}.tar`),
      tarOf(plan, place, readdirSync(place).sort()),
    );
  }
}

interface Layout {
  readonly architecture: string;
  readonly assembled: string;
  /** The root file system as a tar file. */
  readonly files: Buffer;
  readonly compression: "gzip" | "zstd";
}

function writeLayout(
  plan: ReleasePlan,
  { architecture, assembled, files, compression }: Layout,
  staging: string,
): void {
  const blobs = join(staging, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const addBlob = (mediaType: string, data: Buffer) => {
    const digest = sha256(data);
    writeFileSync(join(blobs, digest), data);
    return { mediaType: `${MEDIA}.${mediaType}`, digest: `sha256:${digest}`, size: data.length };
  };
  const addJson = (mediaType: string, value: object) =>
    addBlob(mediaType, Buffer.from(JSON.stringify(value)));
  const created = new Date(plan.epochSeconds * 1000).toISOString();

  const layer = addBlob(
    `layer.v1.tar+${compression}`,
    compression === "gzip" ? gzip(plan, files) : zstd(plan, files),
  );
  const { Labels, ...image } = readDockerfile(readFileSync(join(assembled, "Dockerfile"), "utf8"));
  const labels = {
    "org.opencontainers.image.title": "flannel-ts",
    "org.opencontainers.image.version": plan.version,
    "org.opencontainers.image.revision": plan.commit,
    "org.opencontainers.image.created": created,
    "org.opencontainers.image.licenses": "Apache-2.0",
    ...Labels,
  };
  const config = addJson("config.v1+json", {
    ...{ created, architecture, os: "linux" },
    config: { ...image, Labels: labels },
    rootfs: { type: "layers", diff_ids: [`sha256:${sha256(files)}`] },
    history: [{ created, created_by: "make release" }],
  });
  const schema = { schemaVersion: 2 };
  const manifest = addJson("manifest.v1+json", {
    ...{ ...schema, mediaType: `${MEDIA}.manifest.v1+json`, config, layers: [layer] },
    annotations: labels,
  });
  const repository = plan.imageRepository === "" ? "flannel-ts" : plan.imageRepository;
  const annotations = {
    // The name that containerd gives it.
    "io.containerd.image.name": `${withRegistry(repository)}:${plan.version}`,
    "org.opencontainers.image.ref.name": plan.version,
  };
  const put = (file: string, value: object): void =>
    writeFileSync(join(staging, file), JSON.stringify(value));
  put("oci-layout", { imageLayoutVersion: "1.0.0" });
  put("index.json", {
    ...{ ...schema, mediaType: `${MEDIA}.index.v1+json` },
    manifests: [{ ...manifest, platform: { architecture, os: "linux" }, annotations }],
  });
  const pathOf = ({ digest }: { readonly digest: string }): string => `blobs/${digest.replace(":", "/")}`;
  if (compression === "zstd") return;
  put("manifest.json", [
    { Config: pathOf(config), RepoTags: [`${repository}:${plan.version}`], Layers: [pathOf(layer)] },
  ]);
}

/** As Docker completes names: without a registry they are in Docker's, in its "library" if they have no owner. */
function withRegistry(repository: string): string {
  const [first = "", ...rest] = repository.split("/");
  if (rest.length > 0 && /[.:]|^localhost$/.test(first)) return repository;
  return `docker.io/${rest.length === 0 ? "library/" : ""}${repository}`;
}

/** Of a Dockerfile that adds one root file system to nothing. */
function readDockerfile(text: string): ImageConfig {
  const lines = text
    .replace(/\\\n/g, " ")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  const Env: string[] = [];
  const Labels: Record<string, string> = {};
  let Entrypoint: string[] = [];
  for (const line of lines) {
    const [, instruction = "", rest = ""] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
    if (instruction === "ENTRYPOINT") Entrypoint = JSON.parse(rest) as string[];
    else if (instruction === "ENV") Env.push(...pairsOf(rest).map(([key, value]) => `${key}=${value}`));
    else if (instruction === "LABEL") Object.assign(Labels, Object.fromEntries(pairsOf(rest)));
    else if (!/^(FROM scratch|ARG TARGETARCH|COPY root-\$\{TARGETARCH\}\/ \/)$/.test(line))
      throw new Error(`image-archive.ts does not understand the Dockerfile's line "${line}"`);
  }
  return { Env, Entrypoint, Labels };
}

const pairsOf = (text: string): [string, string][] =>
  [...text.matchAll(/([\w.-]+)=("(?:\\.|[^"\\])*"|\S*)/g)].map(([, key, value]) => [
    key!,
    value!.startsWith('"') ? (JSON.parse(value!) as string) : value!,
  ]);
