/** Everything outside of the agent: `cmd` provides it on a real host, tests in memory. */

import type { AddressBytes, Family, Ip } from "../address/ip.ts";
import type { HostKeys } from "../backend/backend.ts";
import type { Logger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import type { AtomicFileWriter } from "../config/subnet-env.ts";
import type { LeaseStore } from "../lease/lease-store.ts";
import type { NotificationSource } from "../netlink/monitor.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import type { Provider } from "../state/provider.ts";
import type { DriftLedger } from "./drift.ts";
import type { FirewallSystem } from "./firewall-keeper.ts";
import type { Memory } from "./memory-keeper.ts";
import type { NameClaims } from "./network-claim.ts";

/** Receives ICMP messages; `source` and `message` are valid during the call only. */
type EchoReader = (source: AddressBytes, message: Uint8Array, start: number, length: number) => void;

/** A raw ICMP socket. */
export interface EchoSocket extends Disposable {
  /** Queues an ICMP message, not to be fragmented: `head`, and zeros up to `length`. What the kernel refuses is lost. */
  queue(to: AddressBytes, head: Uint8Array, length: number): void;
  /** Sends what is queued. */
  flush(): void;
  /** Whether echo requests of others are received, besides replies. */
  receiveRequests(isWanted: boolean): void;
}

export interface AgentPorts {
  readonly store: LeaseStore;
  /** Where the network config is, for operators ("etcd key /coreos.com/network/config"). */
  readonly configPlace: string;
  /** Providers of all kinds of desired objects. */
  readonly providers: readonly Provider[];
  readonly rtnetlink: Rtnetlink;
  /** Whether a host with this address answers; resolves within seconds. */
  readonly hostAnswers: (ip: Ip) => Promise<boolean>;
  /** Opens a raw ICMP socket for probes with this identifier; undefined = not possible here. No function: no probes. */
  readonly openEcho?:
    | ((family: Family, identifier: number, onMessage: EchoReader) => EchoSocket | undefined)
    | undefined;
  /** Whether a host answers a TCP connection, be it by refusing it; resolves within a second. */
  readonly answersTcp?: ((ip: Ip) => Promise<boolean>) | undefined;
  /** Subscribes to the kernel's notifications from this call on. */
  readonly openNotifications: () => NotificationSource;
  readonly firewall: FirewallSystem;
  readonly drift: DriftLedger;
  /** The process that owns the netlink socket with this port id, for the drift ledger. */
  readonly socketOwner: (portId: number) => string | undefined;
  readonly logger: Logger;
  readonly timers: Timers;
  readonly wallClockMs: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
  /** Undefined = none are available: backends that encrypt cannot run. */
  readonly keys?: HostKeys | undefined;
  /** Runs a command by `sh -c`; what it printed, trimmed. Rejects with FlannelError. Undefined = there is no shell here. */
  readonly runStartupCommand?: ((command: string) => Promise<string>) | undefined;
  /** Whether this kernel has WireGuard; undefined = unknown. */
  readonly hasKernelWireguard?: boolean | undefined;
  /** Text of a file; undefined if it does not exist or cannot be read. */
  readonly readFile: (path: string) => string | undefined;
  readonly writeFile: AtomicFileWriter;
  readonly claims: NameClaims;
  /** Notifies the service manager that the daemon is ready. */
  readonly notifyReady: () => void;
  readonly memory: Memory;
  /** Trims memory where a start with many leases has made it grow: see memory-keeper.ts. */
  readonly limitMemory: () => void;
}
