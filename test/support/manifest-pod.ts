/**
 * What kubelet does with a pod of the DaemonSet, as far as flannel's manifest goes: its containers as Docker runs them,
 * with the rights, variables and volumes that the manifest gives, and the service account where pods find it.
 */

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { DockerEngine } from "./docker.ts";
import type { KubeObject } from "./kube-tools.ts";

interface ManifestContainer {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly securityContext?: {
    readonly privileged?: boolean;
    readonly allowPrivilegeEscalation?: boolean;
    readonly readOnlyRootFilesystem?: boolean;
    readonly capabilities?: { readonly drop?: readonly string[]; readonly add?: readonly string[] };
  };
  readonly env?: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly fieldRef: { readonly fieldPath: string } };
  }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

export interface ManifestPod {
  readonly hostNetwork: boolean;
  readonly initContainers: readonly ManifestContainer[];
  readonly containers: readonly ManifestContainer[];
  readonly volumes: readonly {
    readonly name: string;
    readonly hostPath?: { readonly path: string; readonly type?: string };
    readonly configMap?: { readonly name: string };
  }[];
}

/** Objects of a manifest with the members that only some kinds have. */
export interface ManifestObject extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly template: { readonly spec: ManifestPod } };
}

export interface PodPlace {
  readonly engine: DockerEngine;
  /** For what the manifest's hostPath volumes name below /run and /dev: the rest is taken as it stands. */
  readonly directory: string;
  /** By fieldPath: "metadata.name", "metadata.namespace", "spec.nodeName". */
  readonly fields: Readonly<Record<string, string>>;
  /** Directory with `token` and `ca.crt`. */
  readonly serviceAccount: string;
  /** Where the API server is, in the host's network namespace. */
  readonly apiPort: number;
}

/** Runs the init containers one after the other, then starts the first container; gives Docker's name of it, and what the former said. */
export async function runManifestPod(
  objects: readonly ManifestObject[],
  place: PodPlace,
): Promise<{ readonly name: string; readonly said: readonly string[] }> {
  const pod = objects.find(({ kind }) => kind === "DaemonSet")!.spec!.template.spec;
  const flags = (container: ManifestContainer) => dockerFlags(container, pod, objects, place);
  const said: string[] = [];
  for (const container of pod.initContainers) {
    said.push(await place.engine.docker(["run", "--rm", ...flags(container)]));
  }
  const name = place.fields["metadata.name"]!;
  await place.engine.docker(["run", "--detach", "--name", name, ...flags(pod.containers[0]!)]);
  return { name, said };
}

function dockerFlags(
  { image, command, args, securityContext = {}, env = [], volumeMounts }: ManifestContainer,
  pod: ManifestPod,
  objects: readonly ManifestObject[],
  place: PodPlace,
): string[] {
  const { allowPrivilegeEscalation = true, readOnlyRootFilesystem, capabilities = {} } = securityContext;
  const variables = env.map(
    ({ name, value, valueFrom }) => `${name}=${value ?? place.fields[valueFrom!.fieldRef.fieldPath]!}`,
  );
  const cluster = ["KUBERNETES_SERVICE_HOST=127.0.0.1", `KUBERNETES_SERVICE_PORT=${place.apiPort}`];
  const volumes = volumeMounts.map(({ name, mountPath }) => {
    const volume = pod.volumes.find((candidate) => candidate.name === name)!;
    return `${sourceOf(volume, objects, place)}:${mountPath}`;
  });
  volumes.push(`${place.serviceAccount}:/var/run/secrets/kubernetes.io/serviceaccount:ro`);
  return [
    ...(pod.hostNetwork ? ["--network=host"] : []),
    ...(readOnlyRootFilesystem ? ["--read-only"] : []),
    ...(allowPrivilegeEscalation ? [] : ["--security-opt=no-new-privileges"]),
    ...(capabilities.drop ?? []).map((name) => `--cap-drop=${name}`),
    ...(capabilities.add ?? []).map((name) => `--cap-add=${name}`),
    ...[...variables, ...cluster].map((variable) => `--env=${variable}`),
    ...volumes.map((volume) => `--volume=${volume}`),
    ...[`--entrypoint=${command[0]}`, image, ...command.slice(1), ...args],
  ];
}

function sourceOf(
  { name, hostPath, configMap }: ManifestPod["volumes"][number],
  objects: readonly ManifestObject[],
  { directory }: PodPlace,
): string {
  if (configMap !== undefined) {
    const place = join(directory, name);
    mkdirSync(place, { recursive: true });
    const { data } = objects.find(
      ({ kind, metadata }) => kind === "ConfigMap" && metadata.name === configMap.name,
    )!;
    for (const [file, text] of Object.entries(data!)) writeFileSync(join(place, file), text);
    return place;
  }
  const { path, type } = hostPath!;
  const place = path.startsWith("/run/") ? join(directory, path) : path;
  if (type === "DirectoryOrCreate") mkdirSync(place, { recursive: true });
  if (type === "FileOrCreate" && !existsSync(place)) {
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, "");
  }
  return place;
}
