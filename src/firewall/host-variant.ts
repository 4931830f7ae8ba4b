/**
 * Which iptables a host uses, determined in a container that has both variants: only the existing rules show it. kubelet leaves the chain KUBE-IPTABLES-HINT in the variant that it uses, for this purpose (before
 * Kubernetes 1.24: KUBE-KUBELET-CANARY). Without either, the variant with more rules; nft if both have the same number.
 */

import { FirewallError, type FirewallExec, runTool } from "./firewall-exec.ts";

/** The two backends of iptables(8): over nf_tables (`iptables-nft`), or over x_tables (`iptables-legacy`). */
export type IptablesVariant = "nft" | "legacy";

const HINT = /^:(?:KUBE-IPTABLES-HINT|KUBE-KUBELET-CANARY) /m;
const RULES = /^-A /gm;

/** Counts the rules of both variants, in both families. A tool that is missing or fails has none. At most four processes. */
export async function chooseIptablesVariant(exec: FirewallExec): Promise<IptablesVariant> {
  const nft = await rulesOf(exec, "nft");
  if (HINT.test(nft)) return "nft";
  const legacy = await rulesOf(exec, "legacy");
  if (HINT.test(legacy)) return "legacy";
  return countOf(legacy) > countOf(nft) ? "legacy" : "nft";
}

async function rulesOf(exec: FirewallExec, variant: IptablesVariant): Promise<string> {
  const families = ["iptables", "ip6tables"].map(async (tool) => {
    try {
      return await runTool(exec, `${tool}-${variant}-save`, []);
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
      return "";
    }
  });
  return (await Promise.all(families)).join("");
}

const countOf = (saved: string): number => saved.match(RULES)?.length ?? 0;
