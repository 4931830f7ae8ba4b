/**
 * Lets a starting pod in: finds out which pod of the API it is, has its rules programmed for its addresses, and only then
 * answers. Nothing but that can be requested: a pod and its addresses, for which the packet filter is made as its policies say.
 */

import { messageOf, StoreError } from "../base/error.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { isObject, type Members } from "../config/json-members.ts";
import type { ApiClient } from "../lease/kube/api-client.ts";
import type { PolicyPod } from "../policy/model.ts";
import type { ObjectParser } from "../policy/parse-objects.ts";
import { keyOf, type PodTable } from "./pod-table.ts";
import type { StartingPod } from "./starting-pod.ts";

/** Kubelet's UID of a static pod, on the pod that stands for it in the API (k8s.io/kubernetes/pkg/kubelet/types). */
const CONFIG_HASH = "kubernetes.io/config.hash";

/** What an admission needs. */
export interface AdmissionParts {
  readonly client: ApiClient;
  readonly parser: ObjectParser;
  readonly pods: PodTable;
  /** Resolves when pods, namespaces and policies are known. */
  readonly whenKnown: (signal: AbortSignal) => Promise<void>;
  /** Programs what is known now; resolves with undefined when it is in the kernel, else with the problem. */
  readonly program: (signal: AbortSignal) => Promise<string | undefined>;
  readonly timers: Timers;
}

/** Longest time of an admission; the plugin waits a little longer. */
const LIMIT_MS = 4_500;

/** Undefined = the pod's rules are in the kernel; otherwise why not. Never rejects. */
export async function admit(
  parts: AdmissionParts,
  starting: StartingPod,
  outer: AbortSignal,
): Promise<string | undefined> {
  const over = new AbortController();
  const signal = AbortSignal.any([outer, over.signal]);
  const { promise: expired, resolve: expire } = Promise.withResolvers<string>();
  let stage = "the pods and policies of the cluster are not known yet";
  const cancel = parts.timers.after(LIMIT_MS, () => expire(`${stage} (after ${LIMIT_MS / 1000} s)`));
  try {
    return await Promise.race([expired, run()]);
  } catch (error) {
    return messageOf(error);
  } finally {
    cancel();
    over.abort();
  }

  async function run(): Promise<string | undefined> {
    await parts.whenKnown(signal);
    stage = `the API server does not answer a request for pod ${keyOf(starting)}`;
    const pod = await identify(parts, starting);
    if (typeof pod === "string") return pod;
    parts.pods.claim({
      namespace: starting.namespace,
      name: starting.name,
      uid: pod.uid,
      addresses: starting.addresses,
      pod: parts.pods.watched(keyOf(starting))?.uid === pod.uid ? undefined : pod,
    });
    stage = "the rules are not in the kernel yet";
    return parts.program(signal);
  }
}

/** The pod that is starting; a text = there is none, or another one has its name. Throws StoreError. */
async function identify(
  { client, parser, pods }: AdmissionParts,
  starting: StartingPod,
): Promise<PolicyPod | string> {
  const watched = pods.watched(keyOf(starting));
  if (watched !== undefined && (starting.uid === "" || watched.uid === starting.uid)) return watched;
  // The watch is behind, or it is a static pod.
  const json = await readPod(client, starting);
  const pod = json === undefined ? undefined : parser.pod(json);
  if (pod === undefined) return `pod ${keyOf(starting)} does not exist in the API server`;
  if (starting.uid === "" || pod.uid === starting.uid || configHashOf(json) === starting.uid) return pod;
  return `pod ${keyOf(starting)} has UID ${pod.uid} in the API server, not ${starting.uid}: it was replaced`;
}

async function readPod(client: ApiClient, { namespace, name }: StartingPod): Promise<unknown> {
  try {
    return await client.call({ verb: "get", resource: "pods", namespace, name });
  } catch (error) {
    if (error instanceof StoreError && error.code === "NOT_FOUND") return undefined;
    throw error;
  }
}

function configHashOf(json: unknown): unknown {
  const metadata: Members = isObject(json) && isObject(json.metadata) ? json.metadata : {};
  return isObject(metadata.annotations) ? metadata.annotations[CONFIG_HASH] : undefined;
}

/** Drops the claims of pods that were deleted before the watch brought them, every `everyMs` until aborted. */
export async function pruneClaims(
  { client, pods, timers }: AdmissionParts,
  everyMs: number,
  onDropped: () => void,
  signal: AbortSignal,
): Promise<void> {
  let before = new Set<string>();
  while (!signal.aborted) {
    await sleep(timers, everyMs, signal);
    const unseen = pods.unseenClaims;
    for (const claim of unseen) {
      const key = keyOf(claim);
      if (signal.aborted || !before.has(key)) continue; // the watch may bring it
      try {
        const json = await readPod(client, { ...claim, addresses: [] });
        const metadata = isObject(json) && isObject(json.metadata) ? json.metadata : {};
        if (metadata.uid === claim.uid) continue;
        pods.dropClaim(key);
        onDropped();
      } catch (error) {
        if (!(error instanceof StoreError)) throw error; // unavailable: the next time
      }
    }
    before = new Set(unseen.map(keyOf));
  }
}
