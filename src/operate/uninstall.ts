/**
 * `flannelctl uninstall`: everything of flannel's on a host, listed or removed: its lease, its unit, what `cleanup` removes, and
 * the files of an installation by hand or from the image. Packages are the package manager's: it names them.
 */

import { formatIp } from "../address/ip.ts";
import { defineHostCommand } from "../admin/store-command.ts";
import { FlannelError, isNotFound, messageOf } from "../base/error.ts";
import type { Command, CommandContext } from "../config/command.ts";
import { wireguardKeyFileOf } from "../config/options.ts";
import { FLANNELD_FLAGS } from "../config/options-table.ts";
import { parseSubnetEnv } from "../config/subnet-env.ts";
import { describeSubnets, sameSubnets } from "../lease/lease.ts";
import type { LeaseAdmin, LeaseInspector, LeaseRecord } from "../lease/lease-admin.ts";
import { recordingPathOf } from "../recorder/recording-file.ts";
import { Cleanup } from "./cleanup.ts";
import type { HostKernel, OperatePorts } from "./operate-ports.ts";
import { findFlanneld } from "./running.ts";

const UNIT = "flanneld.service";
const RUN = "/run/flannel";
/** Where documents and images put files: its path, and what its text has if it is flannel's. */
const FILES: readonly (readonly [path: string, isOurs: RegExp])[] = [
  ["/etc/systemd/system/flanneld.service", /^ExecStart=.*flannel/m],
  ["/etc/systemd/system/docker.service.d/flannel.conf", /flannel/],
  ["/etc/sysconfig/flanneld", /^#?\s*FLANNEL/m],
  ["/etc/default/flanneld", /^#?\s*FLANNEL/m],
  ["/etc/cni/net.d/10-flannel.conflist", /"type":\s*"flannel"/],
  ["/opt/cni/bin/flannel", /flannel/],
  ["/usr/local/bin/flanneld", /launch\.sh/],
  ["/usr/local/bin/flannelctl", /launch\.sh/],
  ["/usr/local/bin/mk-docker-opts.sh", /DOCKER_OPT/],
  ["/run/flannel/docker", /--bip|--mtu/],
];
/** Of these a configuration file is removed by the package manager, not here. */
const SETTINGS = ["/etc/sysconfig/flanneld", "/etc/default/flanneld"];
/** A file that our packages have. */
const PACKAGED = "/usr/lib/flannel/VERSION";
/** What asks a package manager for our package, and what removes it. */
const PACKAGE_MANAGERS = [
  { query: ["dpkg-query", "--show", "flannel-ts"], removal: "apt-get purge flannel-ts" },
  { query: ["rpm", "--query", "flannel-ts"], removal: "dnf remove flannel-ts (or rpm -e flannel-ts)" },
] as const;
/** Data that only its owner can decide about. */
const DATA = "/var/lib/flannel/store/store.db";

/** `flannelctl uninstall`. */
export const uninstallCommand = (ports: OperatePorts): Command =>
  defineHostCommand(ports.admin, {
    summary: "remove flannel from this host: lease, unit, network, files (after confirmation)",
    flags: {
      "dry-run": { kind: "bool", help: "only print what would be removed" },
      yes: { kind: "bool", help: "do not ask" },
      "subnet-file": FLANNELD_FLAGS["subnet-file"],
    },
    async run(store, { values }, context) {
      const isDryRun = values["dry-run"];
      if (!isDryRun && !(await isConfirmed(ports, values.yes, context))) return 1;
      const keyFile = wireguardKeyFileOf(ports.admin.variables);
      using host = ports.openKernel(keyFile);
      const cleanup = new Cleanup(ports, host, context, isDryRun);
      const removal = await findPackage(ports);
      await stopUnit(ports, cleanup);
      const running = isDryRun ? undefined : findFlanneld(ports.processes());
      if (running !== undefined) {
        context.printError(
          `flanneld still runs here (pid ${running.pid}) and would repair everything; stop it first`,
        );
        return 1;
      }
      await releaseLease(store, values["subnet-file"], ports, host, cleanup, context);
      await cleanup.network(values["subnet-file"], keyFile);
      const hadUnit = ports.readFile(FILES[0]![0]) !== undefined;
      for (const [path, isOurs] of FILES) {
        const text = ports.readFile(path);
        if (text === undefined || (removal !== undefined && SETTINGS.includes(path))) continue;
        if (isOurs.test(text)) cleanup.file(path, "");
        else context.print(`left alone: ${path}, which is not flannel's`);
      }
      const recording = recordingPathOf(values["subnet-file"]);
      if (ports.readFile(recording) !== undefined) cleanup.file(recording, ", the flight recorder's");
      if (!isDryRun) {
        if (hadUnit) await runIfPresent(ports, "systemctl", ["daemon-reload"]);
        await runIfPresent(ports, "rmdir", [RUN]); // fails unless it is empty
      }
      if (ports.readFile(DATA) !== undefined)
        context.print(`left alone: ${DATA}, the data of the embedded store; remove it by hand`);
      if (removal !== undefined) context.print(`left to the package manager: flannel-ts; ${removal}`);
      return cleanup.conclude("");
    },
  });

async function isConfirmed(
  ports: OperatePorts,
  yes: boolean,
  { print, printError }: CommandContext,
): Promise<boolean> {
  if (yes) return true;
  const answer = await ports.admin.confirm(
    "Remove flannel from this host? Containers lose their connections to other hosts.",
  );
  if (answer === undefined) {
    printError(
      "flannelctl: there is no terminal to confirm on; give --yes, or --dry-run to see what is there",
    );
  } else if (!answer) print("Nothing was removed.");
  return answer === true;
}

/** How our package is removed; undefined = it is not installed. rpm is not asked in vain: it would create a database. */
async function findPackage(ports: OperatePorts): Promise<string | undefined> {
  if (ports.readFile(PACKAGED) === undefined) return undefined;
  for (const { query, removal } of PACKAGE_MANAGERS) {
    const [program, ...args] = query;
    if ((await runIfPresent(ports, program, args))?.code === 0) return removal;
  }
  return undefined;
}

async function stopUnit(ports: OperatePorts, cleanup: Cleanup): Promise<void> {
  const isActive = (await runIfPresent(ports, "systemctl", ["--quiet", "is-active", UNIT]))?.code === 0;
  const isEnabled = (await runIfPresent(ports, "systemctl", ["--quiet", "is-enabled", UNIT]))?.code === 0;
  if (!isActive && !isEnabled) return;
  const states = [isActive ? "running" : "", isEnabled ? "enabled" : ""].filter((state) => state !== "");
  await cleanup.step(`unit ${UNIT} (${states.join(", ")})`, async () => {
    const result = await runIfPresent(ports, "systemctl", ["disable", "--now", UNIT]);
    return result?.code === 0 ? undefined : (result?.stderr.trim() ?? "systemctl has disappeared");
  });
}

/** The lease that subnet.env names, if its public IP is this host's. */
async function releaseLease(
  store: LeaseInspector | LeaseAdmin,
  subnetFile: string,
  ports: OperatePorts,
  host: HostKernel,
  cleanup: Cleanup,
  context: CommandContext,
): Promise<void> {
  const text = ports.readFile(subnetFile);
  if (text === undefined) return;
  const { subnets } = parseSubnetEnv(text);
  if (subnets.ipv4 === undefined && subnets.ipv6 === undefined) return;
  const name = `lease ${describeSubnets(subnets)} in the datastore`;
  if (!("release" in store)) {
    context.print(`left alone: ${name}, which ends with the node (kubectl delete node)`);
    return;
  }
  let record: LeaseRecord | undefined;
  try {
    record = (await store.listRecords()).find(
      (found) => found.subnets && sameSubnets(found.subnets, subnets),
    );
  } catch (error) {
    if (!(error instanceof FlannelError)) throw error;
    context.print(`left alone: ${name}, which expires within a day: ${messageOf(error)}`);
    return;
  }
  if (record === undefined) return;
  const local = new Set(host.rtnetlink.addresses().map(({ address }) => address));
  const publicIps = [record.attributes?.publicIp, record.attributes?.publicIpv6].flatMap((ip) =>
    ip === undefined ? [] : [formatIp(ip)],
  );
  if (!publicIps.some((ip) => local.has(ip))) {
    context.print(
      `left alone: ${name}, which belongs to ${publicIps.join(", ") || "nobody"}, not an address of this host`,
    );
    return;
  }
  const found = record;
  await cleanup.step(name, async () =>
    (await store.release(found)) ? undefined : "it was changed concurrently; run the command again",
  );
}

/** Undefined: there is no such program. */
async function runIfPresent(ports: OperatePorts, program: string, args: readonly string[]) {
  try {
    return await ports.firewallExec.run(program, args);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    return undefined;
  }
}
