/**
 * The chart as Helm packages it, and an index that makes the directory of a static web server a Helm repository; and the
 * manifest for kubectl. In both the image is the release's, if it has a place in a registry.
 */

import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, parseDocument, stringify } from "yaml";
import { gzip, sha256, tarOf } from "./archive.ts";
import type { ReleasePlan } from "./release-plan.ts";

/** Writes flannel-VERSION.tgz and index.yaml. `staging`: a directory for the changed chart. */
export function writeChart(plan: ReleasePlan, staging: string): void {
  mkdirSync(staging, { recursive: true });
  cpSync(join(plan.root, "deploy/chart/flannel"), join(staging, "flannel"), { recursive: true });
  const descriptionFile = join(staging, "flannel/Chart.yaml");
  const description = parseDocument(readFileSync(descriptionFile, "utf8"));
  description.set("version", plan.version);
  description.set("appVersion", plan.version);
  writeFileSync(descriptionFile, description.toString());
  if (plan.imageRepository !== "") {
    const valuesFile = join(staging, "flannel/values.yaml");
    const values = parseDocument(readFileSync(valuesFile, "utf8"));
    values.setIn(["flannel", "image", "repository"], plan.imageRepository);
    writeFileSync(valuesFile, values.toString({ lineWidth: 0 }));
  }
  const file = `flannel-${plan.version}.tgz`;
  const archive = gzip(plan, tarOf(plan, staging, ["flannel"]));
  writeFileSync(join(plan.out, file), archive);
  const created = new Date(plan.epochSeconds * 1000).toISOString();
  const entry = {
    ...(parse(description.toString()) as object),
    created,
    digest: sha256(archive),
    urls: [file],
  };
  writeFileSync(
    join(plan.out, "index.yaml"),
    stringify({ apiVersion: "v1", entries: { flannel: [entry] }, generated: created }),
  );
}

/** Writes kube-flannel.yml. */
export function writeManifest(plan: ReleasePlan): void {
  const text = readFileSync(join(plan.root, "deploy/kubernetes/kube-flannel.yml"), "utf8");
  const image = `${plan.imageRepository === "" ? "flannel-ts" : plan.imageRepository}:${plan.version}`;
  writeFileSync(join(plan.out, "kube-flannel.yml"), text.replace(/(?<=image: )flannel-ts:\S+/g, image));
}
