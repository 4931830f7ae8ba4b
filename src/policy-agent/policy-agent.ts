/**
 * Network policies on this node: what the watches and the CNI plugin bring is compiled and kept in the kernel. A part of its
 * own beside the agent that makes the network: it needs the API server, nftables and the pods' addresses only.
 */

import { createHash } from "node:crypto";
import type { Server } from "node:net";
import { parsePrefix } from "../address/prefix.ts";
import { FlannelError, messageOf } from "../base/error.ts";
import { retry } from "../base/retry.ts";
import { sleep } from "../base/timers.ts";
import type { FirewallExec } from "../firewall/firewall-exec.ts";
import { type AnnotationNames, annotationNames } from "../lease/kube/annotations.ts";
import { openAccess } from "../lease/kube/api-access.ts";
import { ApiClient } from "../lease/kube/api-client.ts";
import { DEFAULT_TIMINGS, type KubeStoreOptions } from "../lease/kube/kube-options.ts";
import { OwnNode } from "../lease/kube/own-node.ts";
import type { OutagePorts } from "../lease/outage.ts";
import type { NotificationSource } from "../netlink/monitor.ts";
import { PolicyCompiler } from "../policy/compile.ts";
import type { ConnectionTable } from "../policy/connections.ts";
import type { DesiredFilter } from "../policy/model.ts";
import { rangesOfSubnets } from "../policy/node-pods.ts";
import { createObjectParser } from "../policy/parse-objects.ts";
import { PolicyFilter } from "../policy/policy-filter.ts";
import { type AdmissionParts, admit, pruneClaims } from "./admission.ts";
import { AdmissionServer } from "./admission-server.ts";
import { formatClaims, parseClaims } from "./claim-record.ts";
import { ClusterWatch } from "./cluster-watch.ts";
import { followFilterChanges } from "./filter-changes.ts";
import { PodTable } from "./pod-table.ts";
import { PolicyKeeper } from "./policy-keeper.ts";

/** How often a table that nothing is known to have changed is checked, and counters and connections are read. */
const CHECK_MS = 300_000;
/** How often claims that no watch has confirmed are checked. */
const PRUNE_MS = 30_000;
/** Pause before the node's name is asked for again. */
const RETRY_MS = 2_000;
/** Our own latest processes, which identify our own changes. */
const REMEMBERED_PIDS = 64;

/** Options of the datastore, and where files are. */
export interface PolicyAgentOptions {
  readonly kube: Omit<KubeStoreOptions, "setNodeNetworkUnavailable">;
  /** The record of starting pods. */
  readonly recordFile: string;
  /** Denied packets are logged to this group of nfnetlink_log; undefined = not. */
  readonly logGroup?: number | undefined;
}

/** The system's side. */
export interface PolicyAgentPorts extends OutagePorts {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly exec: FirewallExec;
  readonly connections: ConnectionTable | undefined;
  readonly openNftNotifications: () => NotificationSource;
  /** Makes a server listen on the plugin's socket. Rejects with FlannelError. */
  readonly listen: (server: Server) => Promise<void>;
  /** Undefined = there is no such file. */
  readonly readFile: (path: string) => string | undefined;
  readonly writeFile: (path: string, text: string, mode: number) => Promise<void>;
  /** Why policies are not in effect; undefined = they are. */
  readonly onProblem: (problem: string | undefined) => void;
  /** A foreign change of the table was repaired. */
  readonly onRepair: (what: string, tookMs: number, by: string | undefined) => void;
}

/** The agent, from `run` on. */
export class PolicyAgent {
  readonly pods = new PodTable();
  readonly keeper: PolicyKeeper;
  readonly filter: PolicyFilter;
  readonly #options: PolicyAgentOptions;
  readonly #ports: PolicyAgentPorts;
  readonly #annotations: AnnotationNames;
  readonly #compiler = new PolicyCompiler(sha256);
  readonly #known = Promise.withResolvers<void>();
  #watch: ClusterWatch | undefined;
  #ownPids: number[] = [];
  /** Of our own, whose ids are known when they have ended. */
  readonly #running = new Set<Promise<unknown>>();
  #writing: Promise<void> = Promise.resolve();
  #drift: { readonly sinceMs: number; readonly by: string | undefined } | undefined;
  #compiled:
    | { readonly source: DesiredFilter; readonly podCidrs: readonly string[]; readonly filter: DesiredFilter }
    | undefined;
  #writtenClaims = "";

  /** Throws ConfigError. */
  constructor(options: PolicyAgentOptions, ports: PolicyAgentPorts) {
    const { logger, timers, connections } = ports;
    this.#options = options;
    this.#ports = ports;
    this.#annotations = annotationNames(options.kube.annotationPrefix);
    const exec: FirewallExec = {
      run: async (command, args, stdin) => {
        const running = ports.exec.run(command, args, stdin);
        this.#running.add(running);
        try {
          const result = await running;
          if (result.pid !== undefined)
            this.#ownPids = [...this.#ownPids, result.pid].slice(-REMEMBERED_PIDS);
          return result;
        } finally {
          this.#running.delete(running);
        }
      },
    };
    this.filter = new PolicyFilter({ exec, logger, connections, digest: sha256, logGroup: options.logGroup });
    this.keeper = new PolicyKeeper({
      compile: () => this.#compile(),
      apply: (filter) => this.#apply(filter),
      onProblem: (problem) => ports.onProblem(problem),
      ...{ logger, timers },
    });
  }

  /** The watches; undefined until the node's name is known. */
  get cluster(): ClusterWatch | undefined {
    return this.#watch;
  }

  /** Until aborted. The filter stays in the kernel. Rejects with ConfigError. */
  async run(signal: AbortSignal): Promise<void> {
    const { kube, recordFile } = this.#options;
    const { logger, timers, environment, readFile } = this.#ports;
    const access = await openAccess(kube, environment, logger);
    const timings = { ...DEFAULT_TIMINGS, ...kube.timings };
    using client = new ApiClient(access, timings, { logger, timers });
    const node = new OwnNode({
      ...{ client, options: kube, names: this.#annotations, timings, ports: this.#ports, signal },
    });
    const nodeName = await retry(
      {
        ...{ failure: "Failed to find this host's node", attempt: () => node.name() },
        ...{ pauseMs: RETRY_MS, signal, level: "warn" },
      },
      this.#ports,
    );
    if (nodeName === undefined) return;
    for (const claim of parseClaims(readFile(recordFile))) this.pods.claim(claim);
    const parser = createObjectParser(nodeName);
    const { pods, keeper } = this;
    const parts = {
      client,
      timings,
      nodeName,
      annotations: this.#annotations,
      parser,
      pods,
      ports: this.#ports,
    };
    this.#watch = new ClusterWatch({
      ...parts,
      onChange: () => {
        this.#known.resolve();
        keeper.change();
      },
    });
    const admission: AdmissionParts = {
      ...{ client, parser, pods, timers },
      whenKnown: () => this.#known.promise,
      program: async (over) => {
        await this.#recordClaims();
        return keeper.program(over);
      },
    };
    await using _server = await this.#serve(admission, signal);
    const work = [
      this.#watch.run(signal),
      keeper.run(signal),
      followFilterChanges(
        {
          openNftNotifications: this.#ports.openNftNotifications,
          isOwn: async (pid) => {
            await Promise.allSettled(this.#running);
            return this.#ownPids.includes(pid);
          },
          onForeign: (by) => this.#noteForeign(by),
          logger,
        },
        signal,
      ),
      pruneClaims(admission, PRUNE_MS, () => keeper.change(), signal),
      this.#checkRegularly(signal),
    ];
    await Promise.all(work);
    await this.filter[Symbol.asyncDispose]();
  }

  async #serve(admission: AdmissionParts, signal: AbortSignal): Promise<AsyncDisposable | undefined> {
    const { listen, timers } = this.#ports;
    return retry(
      {
        failure: "Failed to listen for starting pods; pods with failClosed do not start",
        attempt: () =>
          AdmissionServer.start(listen, (pod, over) =>
            admit(admission, pod, AbortSignal.any([over, signal])),
          ),
        ...{ pauseMs: RETRY_MS, signal, level: "error" },
      },
      { logger: this.#ports.logger, timers },
    );
  }

  /** Undefined = not everything is known. */
  #compile(): DesiredFilter | undefined {
    const watch = this.#watch;
    if (watch === undefined || watch.missing.size > 0) return undefined;
    const filter = this.#compiler.compile(watch.input);
    const addresses = this.pods.localAddresses();
    const known = this.#compiled;
    const isSame =
      known?.podCidrs === watch.podCidrs &&
      known.filter.pods!.addresses.symmetricDifference(addresses).size === 0;
    if (known?.source === filter && isSame) return known.filter;
    const pods = isSame
      ? known.filter.pods
      : { ranges: rangesOfSubnets(watch.podCidrs.flatMap((cidr) => parsePrefix(cidr) ?? [])), addresses };
    this.#compiled = { source: filter, podCidrs: watch.podCidrs, filter: { ...filter, pods } };
    return this.#compiled.filter;
  }

  async #apply(filter: DesiredFilter): Promise<void> {
    const { logger, timers, onRepair } = this.#ports;
    const drift = this.#drift;
    this.#drift = undefined;
    const startMs = timers.nowMs();
    const { changeCount, refused, cutProblem } = await this.filter.ensure(filter);
    if (drift !== undefined && changeCount > 0)
      onRepair(
        `nftables table of network policies (${changeCount} changes)`,
        timers.nowMs() - drift.sinceMs,
        drift.by,
      );
    if (changeCount > 0)
      logger.debug(`Network policies: ${changeCount} changes in ${Math.round(timers.nowMs() - startMs)} ms`);
    if (cutProblem !== undefined)
      logger.warn(`Connections that policies forbid now are not cut: ${cutProblem}`);
    if (refused.length > 0)
      throw new FlannelError(
        "FIREWALL_REFUSED",
        `nft refused a part of the network policies: ${refused.join("; ")}`,
      );
    await this.#recordClaims(); // those that are settled are no longer needed
  }

  #noteForeign(by: string | undefined): void {
    this.#drift ??= { sinceMs: this.#ports.timers.nowMs(), by };
    this.filter.invalidate();
    this.keeper.recheck();
  }

  async #checkRegularly(signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(this.#ports.timers, CHECK_MS, signal);
      if (signal.aborted) return;
      this.filter.invalidate();
      this.keeper.recheck();
    }
  }

  /** One write after the other. */
  #recordClaims(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#writeClaims());
    return this.#writing;
  }

  async #writeClaims(): Promise<void> {
    const { recordFile } = this.#options;
    const text = formatClaims(this.pods.claims);
    if (text === this.#writtenClaims) return;
    this.#writtenClaims = text;
    try {
      await this.#ports.writeFile(recordFile, text, 0o600);
    } catch (error) {
      this.#ports.logger.warn(
        `Failed to write ${recordFile}; pods that start during a restart of flanneld may wait for the API server: ${messageOf(error)}`,
      );
    }
  }
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
