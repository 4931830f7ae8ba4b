/**
 * Network policies before the first packet: ADD returns when flanneld has programmed the rules of the pod. The plugin sends
 * one line over flanneld's socket, who starts with which addresses, and waits for one line:
 *
 *     {"namespace":"shop","name":"web-0","uid":"…","addresses":["10.244.1.7"]}   →   {"ready":true} or {"error":"…"}
 *
 * Until then no packet passes to or from these addresses, whatever is answered here.
 */

import { hasCode, messageOf } from "../base/error.ts";
import { isObject } from "../config/json-members.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { Call } from "./delegate-call.ts";

/** Longest wait. flanneld answers in some milliseconds; a restart of it takes a second or two. */
const WAIT_MS = 5_000;
/** Pause before another attempt while flanneld is not listening. */
const RETRY_MS = 50;
const UNAVAILABLE = ["ENOENT", "ECONNREFUSED", "ECONNRESET", "EPIPE"];

/** A pod that is starting. */
interface StartingPod {
  readonly namespace: string;
  readonly name: string;
  /** As the runtime knows it; may be empty. */
  readonly uid: string;
  readonly addresses: readonly string[];
}

/**
 * Waits until flanneld filters the pod, if the network config has `failClosed`. Throws CniError 11 (try again later) if that
 * fails and it is true; if it is false the failure is logged only. `result` is the delegate's.
 */
export async function awaitPolicies(call: Call, result: string, waitMs = WAIT_MS): Promise<void> {
  const { failClosed, policySocket } = call.config;
  if (failClosed === undefined) return;
  const problem = await ask(call, result, policySocket, waitMs);
  if (problem === undefined) return;
  if (failClosed)
    throw new CniError(CNI_CODE.tryAgainLater, `the pod's network policies are not in effect: ${problem}`);
  call.log(
    `the pod's network policies are not in effect; the pod starts (failClosed is false), and its packets pass once flanneld ` +
      `knows it: ${problem}`,
  );
}

/** Undefined = flanneld filters the pod; otherwise why not. While flanneld is not listening, it is asked again. */
async function ask(
  { environment, system }: Call,
  result: string,
  socketPath: string,
  waitMs: number,
): Promise<string | undefined> {
  const pod = startingPod(environment.CNI_ARGS ?? "", result);
  if (typeof pod === "string") return pod;
  const line = `${JSON.stringify(pod)}\n`;
  const endMs = Date.now() + waitMs;
  for (;;) {
    let problem: string;
    try {
      const answer = await system.unixRequest(socketPath, line, Math.max(1, endMs - Date.now()));
      // flanneld is stopping if there is none: the next one is asked.
      if (answer !== "") return problemIn(answer);
      problem = "it closed the connection";
    } catch (error) {
      problem = messageOf(error);
      if (!UNAVAILABLE.some((code) => hasCode(error, code)))
        return `flanneld does not answer at ${socketPath}: ${problem}`;
    }
    if (Date.now() + RETRY_MS >= endMs)
      return `flanneld is unavailable at ${socketPath}: ${problem}; does it run with --network-policy?`;
    await system.sleep(RETRY_MS);
  }
}

/** The pod of CNI_ARGS (as containerd and CRI-O set them) with the addresses of the result, or why there is none. */
function startingPod(args: string, result: string): StartingPod | string {
  const values = new Map(
    args.split(";").map((pair): [string, string] => {
      const [name = "", ...rest] = pair.split("=");
      return [name, rest.join("=")];
    }),
  );
  const namespace = values.get("K8S_POD_NAMESPACE") ?? "";
  const name = values.get("K8S_POD_NAME") ?? "";
  if (namespace === "" || name === "") {
    return "CNI_ARGS names no pod (K8S_POD_NAMESPACE, K8S_POD_NAME); failClosed is for Kubernetes only";
  }
  const addresses = addressesOf(result);
  if (addresses.length === 0) return "the delegate's result has no address";
  return { namespace, name, uid: values.get("K8S_POD_UID") ?? "", addresses };
}

/** Of all versions of results: `ips` is a list from 0.3.0 on; before that there are `ip4` and `ip6`. */
function addressesOf(result: string): string[] {
  const parsed: unknown = JSON.parse(result); // checked before
  if (!isObject(parsed)) return [];
  const ips = Array.isArray(parsed.ips)
    ? parsed.ips.map((ip) => (isObject(ip) ? ip.address : undefined))
    : [];
  const old = [parsed.ip4, parsed.ip6].map((ip) => (isObject(ip) ? ip.ip : undefined));
  return [...ips, ...old]
    .filter((address): address is string => typeof address === "string")
    .map((address) => address.replace(/\/.*/, ""));
}

function problemIn(text: string): string | undefined {
  try {
    const answer: unknown = JSON.parse(text);
    if (isObject(answer) && answer.ready === true) return undefined;
    if (isObject(answer) && typeof answer.error === "string") return answer.error;
  } catch {
    // described below
  }
  return `malformed answer ${JSON.stringify(text.slice(0, 100))}`;
}
