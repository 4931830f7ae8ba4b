/** What the status API answers about network policies: the part of api.ts for them. */

import { flag, type Infer, integer, list, object, oneOf, optional, text } from "./schema.ts";

const POLICY = object(
  "A network policy that selects pods of this node, or that flanneld does not understand.",
  {
    namespace: text("Its namespace."),
    name: text("Its name."),
    directions: list(oneOf(["ingress", "egress"], "A direction."), "The directions in which it isolates."),
    pods: list(text("NAMESPACE/NAME."), "The pods of this node that it selects."),
    deniedPackets: integer("Packets denied lately to and from these pods, in these directions."),
    problems: list(
      text("A member and a reason."),
      "What flanneld does not understand of it: that allows nothing.",
    ),
  },
);

/** The schema of /v1/policies. */
export const POLICY_STATE = object("Network policies on this node.", {
  isInEffect: flag("Whether everything that is known is in the kernel."),
  problem: optional(text("Why it is not.")),
  pods: integer("Pods of the cluster that are known."),
  localPods: integer("Pods of this node."),
  isolatedPods: integer("Pods of this node that a policy selects."),
  policies: integer("Network policies of the cluster."),
  changes: integer("Passes that changed the packet filter, since startup."),
  cutConnections: integer("Connections that policies forbid and that are still known to the kernel."),
  selecting: list(POLICY, "The policies that concern this node."),
});

const POD_SIDE = object("One direction of a pod.", {
  direction: oneOf(["ingress", "egress"], "ingress: to the pod."),
  isIsolated: flag("Whether a policy selects the pod in this direction; without one everything is allowed."),
  policies: list(text("NAMESPACE/NAME."), "The policies that isolate it."),
  allows: list(text("A rule."), "What they allow; everything else is denied."),
  deniedPackets: integer("Packets denied in this direction lately."),
});

/** The schema of /v1/policies/pod. */
export const POD_POLICIES = object("A pod and its network policies.", {
  namespace: text("Its namespace."),
  name: text("Its name."),
  addresses: list(text("An IP address."), "Its addresses; empty until it has any."),
  isLocal: flag("Whether it runs on this node, which then filters it."),
  isHostNetwork: flag("Whether it has the node's network: no policy concerns it."),
  state: oneOf(
    ["active", "terminating", "starting"],
    "starting: the API server does not know its addresses yet.",
  ),
  sides: list(POD_SIDE, "Both directions."),
});

const VERDICT_END = object("What the policies of one end say.", {
  direction: oneOf(["ingress", "egress"], "egress: the pod that sends; ingress: the pod that receives."),
  pod: optional(text("NAMESPACE/NAME; missing if the end is no pod.")),
  isIsolated: flag("Whether a policy selects the pod in this direction."),
  isAllowed: flag("Whether this end allows the connection."),
  policies: list(text("NAMESPACE/NAME."), "The policies that isolate the pod."),
  allowedBy: list(text("NAMESPACE/NAME."), "The policies with the rule that allows it; empty if none does."),
});

/** The schema of /v1/policies/explain. */
export const EXPLANATION = object("Whether a connection is allowed, and by which policies.", {
  from: text("The source."),
  to: text("The destination."),
  source: text("Its address."),
  destination: text("Its address."),
  protocol: text("TCP, UDP or SCTP."),
  port: integer("The destination port."),
  isAllowed: flag("Whether both ends allow it."),
  ends: list(VERDICT_END, "The source's egress, then the destination's ingress."),
  notes: list(text("A note."), "What else matters."),
});

/** The answer of /v1/policies. */
export type PolicyState = Infer<typeof POLICY_STATE>;
/** The answer of /v1/policies/pod. */
export type PodPolicies = Infer<typeof POD_POLICIES>;
/** The answer of /v1/policies/explain. */
export type Explanation = Infer<typeof EXPLANATION>;
