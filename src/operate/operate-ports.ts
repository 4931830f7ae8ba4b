/** What the commands on this host need from their process. */

import type { Prefix } from "../address/prefix.ts";
import type { AdminPorts } from "../admin/admin-ports.ts";
import type { HostKeys } from "../backend/backend.ts";
import type { FirewallExec } from "../firewall/firewall-exec.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import type { SettingName } from "../state/device-settings.ts";
import type { CloudRouteEntry } from "../state/kinds/cloud-route.ts";
import type { Provider } from "../state/provider.ts";

/** The datastore, the kernel, the firewall and the processes of this host. */
export interface OperatePorts {
  readonly admin: AdminPorts;
  /** Opens this host's kernel; the key file is read when a key is needed, never created. Throws SyscallError. */
  openKernel(wireguardKeyFile: string): HostKernel;
  /** Whether devices can be given this setting here: not a sysctl where /proc/sys is read-only (containers). */
  canSet(name: SettingName): boolean;
  readonly firewallExec: FirewallExec;
  /** Arguments of the processes in this network namespace, without this one. */
  processes(): readonly ProcessEntry[];
  /** Text of a file; undefined if there is none or it cannot be read. */
  readFile(path: string): string | undefined;
  /** Throws FlannelError. */
  removeFile(path: string): void;
}

/** The kernel of this host, opened for one command. */
export interface HostKernel extends Disposable {
  readonly rtnetlink: Rtnetlink;
  /** The provider of rtnetlink's objects. */
  readonly kernel: Provider;
  /** It, and the others that hold objects in the kernel. */
  readonly providers: readonly Provider[];
  /** This host's keys; a key that does not exist yet is "(new)". */
  readonly keys: HostKeys;
  readonly hasKernelWireguard: boolean;
  /** Asks a cloud's API for the routes that concern this host; changes nothing. Rejects with FlannelError. */
  inspectCloud(request: CloudRequest): Promise<readonly InspectedRoute[]>;
  /** Whether a running flanneld has the keys and peers of this WireGuard device in its own process, where they are not seen. */
  isInProcess(device: string): boolean;
}

/** Which routes to ask a cloud for. */
interface CloudRequest {
  /** The backend's type. */
  readonly type: string;
  /** Of this host. */
  readonly addresses: readonly string[];
  /** Ids of route tables; empty = the one that the cloud associates with this host. */
  readonly tables: readonly string[];
  readonly networks: readonly Prefix[];
  /** What this host desires. */
  readonly claims: readonly CloudRouteEntry[];
}

/** A route of this host, a foreign one in a place that it claims, or one whose target no longer exists. */
export interface InspectedRoute {
  readonly entry: CloudRouteEntry;
  /** Deletes it. Rejects with FlannelError. */
  delete(): Promise<void>;
}

/** A process of this host. */
export interface ProcessEntry {
  readonly pid: number;
  /** The program's own name first; empty for kernel threads. */
  readonly args: readonly string[];
}
