/**
 * Who changed flanneld's objects, for metrics: the names of processes are theirs to choose, so only known programs are
 * named. That bounds the number of time series, and tells clients on other hosts nothing about further processes.
 */

/** Programs that configure networks or firewalls, by the name of their process (comm of proc(5): 15 bytes). */
const PROGRAMS = new Map(
  [
    ...[
      "NetworkManager",
      "systemd-networkd",
      "networkd",
      "netplan",
      "wicked",
      "ifupdown",
      "dhclient",
      "dhcpcd",
    ],
    ...[
      "connmand",
      "ip",
      "bridge",
      "ifconfig",
      "route",
      "nft",
      "iptables",
      "iptables-nft",
      "iptables-legacy",
    ],
    ...[
      "iptables-restore",
      "iptables-save",
      "xtables-nft-multi",
      "xtables-legacy-multi",
      "ip6tables",
      "firewalld",
    ],
    ...[
      "ufw",
      "docker",
      "dockerd",
      "containerd",
      "podman",
      "netavark",
      "kubelet",
      "kube-proxy",
      "calico-node",
    ],
    ...[
      "cilium-agent",
      "kube-router",
      "antrea-agent",
      "ovs-vswitchd",
      "bird",
      "zebra",
      "frr",
      "bgpd",
      "keepalived",
    ],
    ...["wg", "charon", "tailscaled", "flanneld", "cloud-init", "waagent", "google_guest_agent"],
  ].map((name) => [name.slice(0, 15), name]),
);

/** The program in `by` ("NetworkManager (pid 812), sh (pid 4)"): a known one, "other", or "unknown" where nothing says. */
export function causeOf(by: string | undefined): string {
  if (by === undefined) return "unknown";
  for (const part of by.split(", ")) {
    const known = PROGRAMS.get(part.replace(/ \(pid \d+\)$/, ""));
    if (known !== undefined) return known;
  }
  return "other";
}
