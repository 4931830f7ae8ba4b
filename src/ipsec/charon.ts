/**
 * strongSwan's IKE daemon charon: the one that listens on the VICI socket, or a child of this process with a configuration of
 * its own. A child that dies is started again when it is next needed, at growing intervals; it ends with this process.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, existsSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { FlannelError, hasCode } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { makeDirectory } from "../base/make-directory.ts";
import { printable } from "../base/printable.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { ViciClient } from "./vici-client.ts";

/** How charon is started and found. */
export interface CharonOptions {
  /** The VICI socket. */
  readonly socketPath: string;
  /** For the configuration of a child. */
  readonly directory: string;
  /** Plugins of a child; those that are not installed are left out by charon. */
  readonly plugins?: readonly string[];
  /**
   * A child has `directory` as its /run, so that charons of several hosts of a lab do not share the pid file there. The
   * socket is in that directory.
   */
  readonly ownsRun?: boolean;
  /** The command that runs a child; default: the program alone. */
  readonly commandFor?: (program: string) => readonly [string, ...string[]];
  readonly logger: Logger;
  readonly timers: Timers;
}

/** Where the socket is by default in strongSwan. */
export const VICI_SOCKET = "/var/run/charon.vici";

/** Directories of charon: $PATH has it nowhere. Alpine, Debian, Fedora, openSUSE. */
const DIRECTORIES = [
  "/usr/lib/strongswan",
  "/usr/lib/ipsec",
  "/usr/libexec/strongswan",
  "/usr/libexec/ipsec",
];
/** Kernel, sockets, control, and the cryptography of the proposals, from OpenSSL or strongSwan's own. */
const PLUGINS = [
  "random",
  "nonce",
  "openssl",
  "aes",
  "sha1",
  "sha2",
  "hmac",
  "kdf",
  "gmp",
  "gcm",
  "curve25519",
];
const SYSTEM_PLUGINS = ["kernel-netlink", "socket-default", "vici"];

/** How long a child may take to open its socket. */
const START_MS = 10_000;
const POLL_MS = 20;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** A child is killed when it has not answered so often. */
const MAX_SILENCES = 2;
/** A child that lived so long counts as one that works. */
const STABLE_MS = 60_000;

/** One charon: this process's child, or one that was running already. */
export class Charon implements Disposable {
  readonly #options: CharonOptions;
  #client: ViciClient | undefined;
  #child: ChildProcess | undefined;
  #attempt: Promise<ViciClient> | undefined;
  /** Attempts in a row that charon did not answer. */
  #silences = 0;
  #pauseMs = FIRST_PAUSE_MS;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #isDisposed = false;

  constructor(options: CharonOptions) {
    this.#options = options;
  }

  /** The connection, if there is one. */
  get current(): ViciClient | undefined {
    return this.#client?.closed.aborted === false ? this.#client : undefined;
  }

  /** Process id of the child, while it runs. */
  get childPid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Connects, and starts charon if none is there. Callers at the same time share the attempt. Rejects with FlannelError;
   * EAGAIN = the pause after a crash, ETIMEDOUT = it does not answer.
   */
  client(): Promise<ViciClient> {
    if (this.current !== undefined) return Promise.resolve(this.current);
    this.#attempt ??= this.#connectOrStart().finally(() => {
      this.#attempt = undefined;
    });
    return this.#attempt;
  }

  /** Connects to a charon that is there already; undefined = there is none. Rejects with FlannelError. */
  async existing(): Promise<ViciClient | undefined> {
    if (this.current !== undefined || this.#attempt !== undefined) return this.client();
    return existsSync(this.#options.socketPath) ? this.#connect() : undefined;
  }

  async #connectOrStart(): Promise<ViciClient> {
    const { socketPath, logger } = this.#options;
    const client = await this.#connect();
    if (client !== undefined) {
      if (this.#child === undefined) logger.info(`Using the charon that listens on ${socketPath}`);
      return client;
    }
    this.#start();
    return this.#awaitSocket();
  }

  /** Undefined = nothing listens on the socket. */
  async #connect(): Promise<ViciClient | undefined> {
    let client: ViciClient;
    try {
      client = await ViciClient.connect(this.#options.socketPath);
    } catch (error) {
      if (hasCode(error, "ENOENT") || hasCode(error, "ECONNREFUSED")) return undefined;
      throw error;
    }
    try {
      // The kernel accepts connections for a process that hangs.
      await client.command("version");
    } catch (error) {
      client[Symbol.dispose]();
      if (hasCode(error, "ETIMEDOUT")) this.#noteSilence();
      throw error;
    }
    this.#silences = 0;
    this.#client = client;
    return client;
  }

  /** A child that hangs is of no use to anybody. */
  #noteSilence(): void {
    this.#silences++;
    if (this.#child === undefined || this.#silences < MAX_SILENCES) return;
    this.#silences = 0;
    this.#options.logger.error("charon does not answer; killing it");
    this.#child.kill("SIGKILL");
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#client?.[Symbol.dispose]();
    this.#child?.kill("SIGTERM");
  }

  async #awaitSocket(): Promise<ViciClient> {
    const { socketPath, timers } = this.#options;
    const endMs = timers.nowMs() + START_MS;
    for (;;) {
      const client = await this.#connect();
      if (client !== undefined) return client;
      if (this.#child === undefined)
        throw new FlannelError("ECHILD", "charon ended at its start; run flanneld with -v=1 to see its log");
      if (timers.nowMs() >= endMs)
        throw new FlannelError(
          "ETIMEDOUT",
          `charon does not listen on ${socketPath} after ${START_MS / 1000} s; does it have the plugin vici?`,
        );
      await sleep(timers, POLL_MS);
    }
  }

  #start(): void {
    const { timers, logger } = this.#options;
    if (this.#child !== undefined) return;
    if (this.#isDisposed) throw new FlannelError("ECANCELED", "flanneld is stopping");
    if (timers.nowMs() < this.#notBeforeMs)
      throw new FlannelError("EAGAIN", "charon ended; it is started again after a pause");
    const program = findCharon();
    const startedMs = timers.nowMs();
    const [command, ...args] = this.#commandFor(program);
    const child = spawn(command, args, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, STRONGSWAN_CONF: this.#inChild(this.#writeConfig()) },
    });
    this.#child = child;
    let partial = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      const lines = `${partial}${text}`.split("\n");
      partial = lines.pop()!.slice(0, 1000);
      for (const line of lines) logger.debug(`charon: ${printable(line.slice(0, 300))}`);
    });
    const onEnd = (how: string) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      if (timers.nowMs() - startedMs > STABLE_MS) this.#pauseMs = FIRST_PAUSE_MS;
      this.#notBeforeMs = timers.nowMs() + this.#pauseMs;
      if (!this.#isDisposed)
        logger.error(
          `charon ended (${how}); starting it again in ${this.#pauseMs / 1000} s; run flanneld with -v=1 to see its log`,
        );
      this.#pauseMs = Math.min(LONGEST_PAUSE_MS, this.#pauseMs * 2);
    };
    child.on("error", (error) => onEnd(error.message));
    child.on("exit", (code, signal) => onEnd(signal ?? `exit code ${code}`));
    process.once("exit", () => child.kill("SIGTERM"));
    logger.info(`Started ${program}`);
  }

  #commandFor(program: string): readonly [string, ...string[]] {
    const { commandFor, ownsRun, directory } = this.#options;
    if (commandFor !== undefined) return commandFor(program);
    if (!ownsRun) return [program];
    const script = 'mount --make-rprivate / && mount --bind "$1" /run && exec "$2"';
    return ["unshare", "-m", "sh", "-c", script, "sh", directory, program];
  }

  /** The path at which a child sees a file of its directory. */
  #inChild(path: string): string {
    return this.#options.ownsRun ? join("/run", basename(path)) : path;
  }

  /** Writes the child's configuration, which has no secrets; its path. */
  #writeConfig(): string {
    const { directory, socketPath, plugins = PLUGINS } = this.#options;
    makeDirectory(directory, 0o700);
    const path = join(directory, "strongswan.conf");
    writeFileSync(
      path,
      `charon {
  load = ${[...plugins, ...SYSTEM_PLUGINS].join(" ")}
  install_routes = no
  install_virtual_ip = no
  retransmit_tries = 3
  retransmit_timeout = 2.0
  plugins {
    vici {
      socket = unix://${this.#inChild(socketPath)}
    }
  }
  filelog {
    stderr {
      default = 1
      flush_line = yes
    }
  }
}
`,
      { mode: 0o600 },
    );
    return path;
  }
}

/** The program. Throws FlannelError ENOENT with the packages to install. */
export function findCharon(): string {
  for (const directory of DIRECTORIES) {
    const path = join(directory, "charon");
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // the next one
    }
  }
  throw new FlannelError(
    "ENOENT",
    `charon is not installed: install strongSwan (Debian: strongswan-charon, libstrongswan-standard-plugins), or start one that listens on ${VICI_SOCKET}`,
  );
}
