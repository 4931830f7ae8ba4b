/**
 * `flannelctl bugreport`: one archive with what a person without access to the host needs to understand a problem on this host, without
 * secrets. It is written for root only. Works also where no flanneld runs. Exit codes: 0 written, 1 failed.
 */

import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { hideSecrets } from "../../admin/config-report.ts";
import { FlannelError, messageOf } from "../../base/error.ts";
import { silentLogger } from "../../base/logger.ts";
import { type Command, defineCommand } from "../../config/command.ts";
import { changeRecording, MAX_RECORDING_BYTES, recordingPathOf } from "../../recorder/recording-file.ts";
import { askDaemonText } from "../../status/status-client.ts";
import { DAEMON_FLAGS } from "../daemon-flags.ts";
import type { DiagnosePorts } from "../diagnose/diagnose-ports.ts";
import type { OperatePorts } from "../operate-ports.ts";
import { askRecording } from "../recording-text.ts";
import { type DaemonConfig, readDaemonConfig } from "./daemon-config.ts";
import { redact } from "./redact.ts";
import { API_SOURCES, FILE_SOURCES, KERNEL_SOURCES, PROGRAM_SOURCES } from "./sources.ts";
import { writeTar } from "./tar.ts";

/** Longer texts (a full routing table, a log) keep their end. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;

const RECORDER = "flanneld/recorder";

interface Piece {
  readonly path: string;
  readonly what: string;
  /** Undefined = `missing` says why. */
  readonly text: string | undefined;
  readonly missing?: string;
}

/** `flannelctl bugreport`. `version` is that of this program. */
export const bugreportCommand = (ports: OperatePorts, diagnose: DiagnosePorts, version: string): Command =>
  defineCommand({
    summary:
      "write an archive about this host for a bug report: state, config, rules, logs; secrets are removed",
    synopsis: "[--output FILE]",
    flags: {
      output: { kind: "string", value: "file", help: "name of the archive; it must not exist yet" },
      ...DAEMON_FLAGS,
    },
    async run({ values: { output, socket } }, { print }) {
      const nowMs = ports.admin.wallClockMs();
      const stamp = new Date(nowMs).toISOString().replace(/[-:]|\.\d+/g, "");
      const name = `flannel-bugreport-${hostname().replace(/[^\w.-]/g, "_")}-${stamp}`;
      const path = output === "" ? `${name}.tar.gz` : output;
      const daemon = await readDaemonConfig(ports);
      const pieces = await collect(ports, diagnose, { daemon, socket, version });
      const files = pieces.flatMap(({ path: file, text }) =>
        text === undefined
          ? []
          : [{ path: file, content: Buffer.from(withoutSecrets(file, text, daemon.secrets)) }],
      );
      const sizes = new Map(files.map(({ path: file, content }) => [file, content.length]));
      const manifest = describeManifest(pieces, sizes, { host: hostname(), nowMs });
      const all = [{ path: "MANIFEST", content: Buffer.from(manifest) }, ...files];
      const inFolder = all.map((file) => ({ ...file, path: `${name.slice(0, 60)}/${file.path}` }));
      writeArchive(path, gzipSync(writeTar(inFolder, nowMs)));
      print(
        `${path} has ${files.length} files; MANIFEST lists them. Secrets are removed; look at it before you publish it.`,
      );
      return 0;
    },
  });

async function collect(
  ports: OperatePorts,
  { runProgram, readFile, openRtnetlink }: DiagnosePorts,
  report: { readonly daemon: DaemonConfig; readonly socket: string; readonly version: string },
): Promise<readonly Piece[]> {
  const { daemon, socket, version } = report;
  const pieces: Piece[] = [
    {
      path: "versions/flannel.txt",
      what: "versions",
      text: `flannelctl ${version}\nNode.js ${process.version}\n`,
    },
    {
      path: "config/flags.txt",
      what: "flags of the running flanneld",
      text: daemon.described,
      missing: "no flanneld runs in this network namespace, or its flags cannot be read",
    },
    ...(await readStore(ports, daemon)),
  ];
  const subnetFile = daemon.options?.subnetFile ?? join(dirname(socket), "subnet.env");
  const recorder = recordingPathOf(socket);
  const files = [
    { path: "config/subnet.env", what: "what containers get", file: subnetFile },
    { path: "flanneld/recorder-last-run", what: "flight recorder of the last run", file: recorder },
    ...FILE_SOURCES,
  ];
  for (const { path, what, file } of files)
    pieces.push({ path, what, text: readFile(file), missing: `no file ${file}` });
  pieces.push({
    ...{ path: RECORDER, what: "flight recorder of the running flanneld" },
    ...(await answerOf(() => askRecording(socket))),
  });
  for (const { path, what, request } of API_SOURCES)
    pieces.push({ path, what, ...(await answerOf(() => askDaemonText(socket, request))) });
  using rtnetlink = openRtnetlink();
  for (const { path, what, read } of KERNEL_SOURCES) {
    try {
      pieces.push({ path, what, text: JSON.stringify(read(rtnetlink), undefined, 1) });
    } catch (error) {
      pieces.push({ path, what, text: undefined, missing: messageOf(error) });
    }
  }
  const outputs = await Promise.all(
    PROGRAM_SOURCES.map(({ program: [command, ...args] }) => runProgram(command, args)),
  );
  for (const [index, { path, what, program }] of PROGRAM_SOURCES.entries())
    pieces.push({
      path,
      what,
      text: outputs[index] || undefined,
      missing: `"${program.join(" ")}" printed nothing`,
    });
  return pieces;
}

/** The network config and the leases, with the flags of the running flanneld. */
async function readStore(ports: OperatePorts, { options }: DaemonConfig): Promise<readonly Piece[]> {
  const config = { path: "config/network-config.json", what: "network config in the datastore" };
  const leases = { path: "config/leases.json", what: "leases in the datastore" };
  if (options === undefined) {
    const missing = "the datastore is not known: no flanneld runs here";
    return [
      { ...config, text: undefined, missing },
      { ...leases, text: undefined, missing },
    ];
  }
  try {
    await using store = await ports.admin.inspectStore(options.datastore, silentLogger);
    const text = (await store.readNetworkConfig())?.text;
    const records = await store.listRecords();
    const big = (_: string, value: unknown) => (typeof value === "bigint" ? value.toString() : value);
    return [
      {
        ...config,
        text: text === undefined ? undefined : hideSecrets(text),
        missing: `nothing at ${store.configPlace}`,
      },
      { ...leases, text: JSON.stringify(records, big, 1) },
    ];
  } catch (error) {
    const missing = messageOf(error);
    return [
      { ...config, text: undefined, missing },
      { ...leases, text: undefined, missing },
    ];
  }
}

async function answerOf(ask: () => Promise<string>): Promise<Pick<Piece, "text" | "missing">> {
  try {
    return { text: await ask() };
  } catch (error) {
    return { text: undefined, missing: messageOf(error) };
  }
}

/** A recording can be replayed without its secrets, too. */
const withoutSecrets = (path: string, text: string, secrets: DaemonConfig["secrets"]): string =>
  path.startsWith(RECORDER) && text.length <= MAX_RECORDING_BYTES
    ? changeRecording(text, (whole) => redact(whole, secrets))
    : redact(tailOf(text), secrets);

const tailOf = (text: string): string =>
  text.length <= MAX_FILE_BYTES ? text : `(the beginning is left out)\n${text.slice(-MAX_FILE_BYTES)}`;

function describeManifest(
  pieces: readonly Piece[],
  sizes: ReadonlyMap<string, number>,
  { host, nowMs }: { readonly host: string; readonly nowMs: number },
): string {
  const lines = pieces.map(({ path, what, missing }) => {
    const size = sizes.get(path);
    return size === undefined
      ? `${path}  missing: ${redact(missing ?? "")} (${what})`
      : `${path}  ${size} bytes, ${what}`;
  });
  return [`Bug report of ${host}, ${new Date(nowMs).toISOString()}`, "", ...lines, ""].join("\n");
}

function writeArchive(path: string, bytes: Uint8Array): void {
  try {
    writeFileSync(path, bytes, { mode: 0o600, flag: "wx" });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "EIO";
    const hint = code === "EEXIST" ? "; choose another name with --output" : "";
    throw new FlannelError(code, `failed to write ${path}: ${messageOf(error)}${hint}`, { cause: error });
  }
}
