/**
 * `flannelctl cleanup`: removes flannel from this host, ours and Go's, in every mode (W44): the reconciler with an
 * empty desired state, the firewall likewise, subnet.env and the WireGuard key. The lease stays in the datastore: it expires,
 * or the next start on this host acquires it again.
 */

import { readHostFile } from "../admin/host-file.ts";
import { FlannelError, messageOf } from "../base/error.ts";
import { printable } from "../base/printable.ts";
import { type Command, type CommandContext, defineCommand } from "../config/command.ts";
import { wireguardKeyFileOf } from "../config/options.ts";
import { CONFIG_FILE_FLAG } from "../config/options-program-table.ts";
import { FLANNELD_FLAGS } from "../config/options-table.ts";
import { formatOutput, OUTPUT_FLAGS } from "../config/output-format.ts";
import { type ParsedSubnetEnv, parseSubnetEnv } from "../config/subnet-env.ts";
import { Firewall } from "../firewall/firewall.ts";
import { removePolicyTable } from "../policy/remove-table.ts";
import { POLICY_TABLE } from "../policy/table.ts";
import { describeObject } from "../state/objects.ts";
import { findCloudLeftovers } from "./cloud-routes.ts";
import { findLeftovers, removeLeftover } from "./leftovers.ts";
import type { HostKernel, OperatePorts } from "./operate-ports.ts";
import { findFlanneld } from "./running.ts";

/** An object may be blocked by one that is removed after it. */
const ROUNDS = 3;

/** `flannelctl cleanup`. */
export const cleanupCommand = (ports: OperatePorts): Command =>
  defineCommand({
    summary:
      "remove everything of flannel's from this host: devices, routes, firewall rules, subnet.env, key",
    synopsis: "[--dry-run] [--force] [--cloud TYPE] [--subnet-file FILE] [-o table|json|yaml]",
    flags: {
      "dry-run": { kind: "bool", help: "only print what would be removed" },
      force: { kind: "bool", help: "also while flanneld runs here, which then repairs what it can" },
      cloud: {
        kind: "string",
        value: "type",
        help: "also this host's routes in the tables of this cloud (aws-vpc…), and those whose target no longer exists",
      },
      "route-table-id": {
        kind: "repeatable",
        value: "id",
        help: "with --cloud: the route table, if the network config names it; may be given several times",
      },
      "subnet-file": FLANNELD_FLAGS["subnet-file"],
      ...CONFIG_FILE_FLAG,
      ...OUTPUT_FLAGS,
    },
    readFile: readHostFile,
    async run({ values }, context) {
      const running = values["dry-run"] || values.force ? undefined : findFlanneld(ports.processes());
      if (running !== undefined) {
        context.printError(
          `flanneld is running here (pid ${running.pid}) and would repair everything; stop it first, or give --force`,
        );
        return 1;
      }
      const keyFile = wireguardKeyFileOf(ports.admin.variables);
      using host = ports.openKernel(keyFile);
      const isTable = values.o === "table";
      if (!isTable) await formatOutput(values.o, {}, () => []); // an unknown format, before anything is removed
      const quiet: CommandContext = { ...context, print() {} };
      const cleanup = new Cleanup(ports, host, isTable ? context : quiet, values["dry-run"]);
      const { cloud, "route-table-id": tables } = values;
      await cleanup.network(values["subnet-file"], keyFile, { type: cloud, tables });
      if (!isTable) context.print(await formatOutput(values.o, cleanup.report, () => []));
      return cleanup.conclude(" The lease in the datastore stays until it expires or is released.");
    },
  });

/** One run: removes, prints, and counts. */
export class Cleanup {
  readonly #ports: OperatePorts;
  readonly #host: HostKernel;
  readonly #context: CommandContext;
  readonly #isDryRun: boolean;
  readonly #removed: string[] = [];
  readonly #leftAlone: string[] = [];
  readonly #problems: string[] = [];

  constructor(ports: OperatePorts, host: HostKernel, context: CommandContext, isDryRun: boolean) {
    this.#ports = ports;
    this.#host = host;
    this.#context = context;
    this.#isDryRun = isDryRun;
  }

  /** What flanneld programs, and its files; `cloud`: also in this cloud's route tables ("" = in none). */
  async network(
    subnetFile: string,
    keyFile: string,
    cloud: { readonly type: string; readonly tables: readonly string[] } = { type: "", tables: [] },
  ): Promise<void> {
    const text = this.#ports.readFile(subnetFile);
    const subnetEnv = text === undefined ? undefined : parseSubnetEnv(text);
    await this.#kernel(subnetEnv);
    await this.#firewall();
    await this.#policies();
    const isCloudClean = cloud.type === "" || (await this.#cloud(cloud.type, cloud.tables, subnetEnv));
    // Without it, --cloud cannot be repeated.
    if (subnetEnv !== undefined && isCloudClean) this.#subnetFile(subnetFile, subnetEnv);
    this.#keyFile(keyFile);
  }

  async #kernel(subnetEnv: ParsedSubnetEnv | undefined): Promise<void> {
    let failures = new Map<string, FlannelError>();
    for (let round = 1; round <= ROUNDS; round++) {
      const { objects, foreign } = await findLeftovers(this.#host, subnetEnv);
      if (round === 1) {
        for (const device of foreign) this.#leave(`${device}, which is not of a type that flannel creates`);
      }
      if (objects.length === 0) return;
      failures = new Map();
      for (const object of objects) {
        const error = this.#isDryRun ? undefined : await removeLeftover(this.#host, object);
        if (error === undefined) this.#done(object.text);
        else failures.set(object.text, error);
      }
      if (this.#isDryRun) return;
    }
    const { objects } = await findLeftovers(this.#host, subnetEnv);
    for (const { text } of objects) {
      const error = failures.get(text);
      this.#failed(
        `${text} still exists${error === undefined ? ": another process recreates it" : `: ${error.message}`}`,
      );
    }
  }

  async #firewall(): Promise<void> {
    const say = (message: string): void => this.#context.printError(message);
    const logger = { info: say, warn: say, error: say, debug() {} };
    await using firewall = new Firewall({ mode: "nftables", exec: this.#ports.firewallExec, logger });
    const { objects, problems } = await firewall.cleanup({ dryRun: this.#isDryRun });
    for (const object of objects) this.#done(object);
    for (const problem of problems) this.#failed(problem);
  }

  async #policies(): Promise<void> {
    try {
      const isThere = await removePolicyTable(this.#ports.firewallExec, { dryRun: this.#isDryRun });
      if (isThere) this.#done(`nftables: table ${POLICY_TABLE} (network policies)`);
    } catch (error) {
      this.#failed(`network policies: ${messageOf(error)}`);
    }
  }

  /** Deletes this host's routes in a cloud, and blackholes; whether that succeeded. */
  async #cloud(
    type: string,
    tables: readonly string[],
    subnetEnv: ParsedSubnetEnv | undefined,
  ): Promise<boolean> {
    const { ipv4, ipv6 } = subnetEnv?.network ?? {};
    const networks = [ipv4, ipv6].filter((prefix) => prefix !== undefined);
    if (networks.length === 0) {
      this.#failed(
        "--cloud: there is no subnet.env that says which network is flannel's; name it with --subnet-file",
      );
      return false;
    }
    try {
      for (const route of await findCloudLeftovers(this.#host, { type, tables, networks })) {
        if (!this.#isDryRun) await route.delete();
        this.#done(describeObject(route.entry));
      }
      return true;
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      this.#failed(`failed to clean up the routes of ${type}: ${messageOf(error)}`);
      return false;
    }
  }

  #subnetFile(path: string, { network, subnets, mtuBytes }: ParsedSubnetEnv): void {
    if (
      [network.ipv4, network.ipv6, subnets.ipv4, subnets.ipv6, mtuBytes].every((part) => part === undefined)
    ) {
      this.#leave(`${path}, which is not a subnet.env`);
      return;
    }
    this.file(path, "");
  }

  /** The key is of no use without the device, and a secret that nothing protects once flannel is gone. */
  #keyFile(path: string): void {
    const text = this.#ports.readFile(path);
    if (text === undefined) return;
    if (/^[A-Za-z0-9+/]{43}=$/.test(text.trim()))
      this.file(path, ", this host's private WireGuard key; the next start of flanneld creates another");
    else this.#leave(`${path}, which does not contain a WireGuard key`);
  }

  /** Removes a file; `what`: what it was, after its path. */
  file(path: string, what: string): void {
    try {
      if (!this.#isDryRun) this.#ports.removeFile(path);
      this.#done(`file ${path}${what}`);
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      this.#failed(messageOf(error));
    }
  }

  /** Does something else, unless this is a dry run; it throws FlannelError, or gives the reason why it is not done. */
  async step(text: string, act: () => Promise<string | undefined>): Promise<void> {
    try {
      const reason = this.#isDryRun ? undefined : await act();
      if (reason === undefined) this.#done(text);
      else this.#failed(`${text}: ${reason}`);
    } catch (error) {
      if (!(error instanceof FlannelError)) throw error;
      this.#failed(`${text}: ${messageOf(error)}`);
    }
  }

  /** For programs. */
  get report() {
    return {
      dryRun: this.#isDryRun,
      removed: this.#removed,
      leftAlone: this.#leftAlone,
      problems: this.#problems,
    };
  }

  /** Prints the sum and gives the exit code. `rest`: what stays, after the sum. */
  conclude(rest: string): number {
    const { print, printError } = this.#context;
    const [count, problems] = [this.#removed.length, this.#problems.length];
    const things = count === 1 ? "1 object" : `${count} objects`;
    if (count === 0 && problems === 0) print("This host has nothing of flannel's.");
    else if (this.#isDryRun) print(`${things} would be removed.`);
    else print(`${things} removed.${rest}`);
    if (problems > 0) printError(`Not everything was removed: ${problems} problems, see above.`);
    return problems > 0 ? 1 : 0;
  }

  #done(text: string): void {
    this.#removed.push(text);
    this.#context.print(`${this.#isDryRun ? "would remove" : "removed"} ${printable(text)}`);
  }

  #leave(text: string): void {
    this.#leftAlone.push(text);
    this.#context.print(`left alone: ${text}`);
  }

  #failed(text: string): void {
    this.#problems.push(text);
    this.#context.printError(printable(text));
  }
}
