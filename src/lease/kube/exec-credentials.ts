/**
 * Credentials from a program that a kubeconfig names (client.authentication.k8s.io/v1 and v1beta1): it runs when there are
 * no credentials yet, when they expire, and when the server rejects them. Its output is never logged.
 */

import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { ConfigError, StoreError } from "../../base/error.ts";
import { isObject, type Members } from "../../config/json-members.ts";
import { ENVIRONMENT_PREFIX } from "../../config/options-table.ts";
import { readKeyPair, type Source } from "./credentials.ts";

const API_VERSIONS = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
const TIMEOUT_MS = 60_000;
/** Credentials are renewed this long before they expire. */
const EXPIRY_MARGIN_MS = 10_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;

/** The `exec` member of a kubeconfig's user, checked. */
export interface ExecSettings {
  /** For messages. */
  readonly place: string;
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** How to install the program, from the kubeconfig; empty = not given. */
  readonly installHint: string;
  /** The `spec` of KUBERNETES_EXEC_INFO. */
  readonly info: Members;
}

/** Reads the `exec` of a user. Throws ConfigError. */
export function readExecSettings(
  exec: unknown,
  cluster: Members,
  at: { readonly name: string; readonly directory: string },
): ExecSettings {
  const place = `${at.name}, exec`;
  const fault = (message: string) => new ConfigError(`${place}: ${message}`);
  if (!isObject(exec) || typeof exec.command !== "string" || exec.command === "")
    throw fault("command is missing");
  const { command, apiVersion, args, env, interactiveMode, installHint } = exec;
  if (typeof apiVersion !== "string" || !API_VERSIONS.includes(apiVersion)) {
    throw fault(`apiVersion must be ${API_VERSIONS.join(" or ")}: get a newer version of ${command}`);
  }
  if (interactiveMode === "Always")
    throw fault(`${command} needs a terminal (interactiveMode: Always), which flanneld does not have`);
  const texts = args ?? [];
  if (!Array.isArray(texts) || !texts.every((text) => typeof text === "string"))
    throw fault("args is not a list of strings");
  const variables = env ?? [];
  const isPair = (pair: unknown) =>
    isObject(pair) && typeof pair.name === "string" && typeof pair.value === "string";
  if (!Array.isArray(variables) || !variables.every(isPair))
    throw fault("env is not a list of name and value");
  return {
    place,
    apiVersion,
    // A path is relative to the kubeconfig; a name is searched in PATH.
    command: command.includes("/") ? resolve(at.directory, command) : command,
    args: texts,
    environment: Object.fromEntries(variables.map(({ name, value }) => [name, value])),
    installHint: typeof installHint === "string" ? installHint : "",
    info: { interactive: false, ...(exec.provideClusterInfo === true && { cluster: clusterInfo(cluster) }) },
  };
}

interface Credential {
  readonly authorization: string | undefined;
  readonly keyPair: { readonly cert: string; readonly key: string } | undefined;
  readonly expiresAtMs: number;
}

/**
 * Runs the program when needed and keeps its credential until it expires. Throws StoreError with the install hint if it
 * fails.
 */
export class ExecCredentials {
  readonly #settings: ExecSettings;
  #credential: Credential | undefined;
  #running: Promise<Credential> | undefined;

  constructor(settings: ExecSettings) {
    this.#settings = settings;
  }

  /** From the latest run of the program. */
  get keyPair(): Credential["keyPair"] {
    return this.#credential?.keyPair;
  }

  /** See ApiAccess. */
  async authorize(refused?: string): Promise<string | undefined> {
    const current = this.#credential;
    const isGood =
      current !== undefined &&
      Date.now() < current.expiresAtMs &&
      (refused === undefined || (current.authorization ?? "") !== refused);
    if (isGood) return current.authorization;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    this.#credential = await this.#running;
    return this.#credential.authorization;
  }

  async #run(): Promise<Credential> {
    const { apiVersion, command, args, environment, info } = this.#settings;
    const request = JSON.stringify({ apiVersion, kind: "ExecCredential", spec: info });
    try {
      const { stdout } = await promisify(execFile)(command, args, {
        env: { ...withoutOwnVariables(process.env), ...environment, KUBERNETES_EXEC_INFO: request },
        timeout: TIMEOUT_MS,
        killSignal: "SIGKILL", // which it cannot ignore
        maxBuffer: MAX_OUTPUT_BYTES,
      });
      return this.#read(stdout);
    } catch (error) {
      if (error instanceof StoreError) throw error;
      throw this.#fault(reasonOf(error as NodeJS.ErrnoException & { killed?: boolean }));
    }
  }

  #read(output: string): Credential {
    const answer = parseJson(output);
    const status = isObject(answer) && answer.kind === "ExecCredential" ? answer.status : undefined;
    if (!isObject(status)) throw this.#fault("it printed no ExecCredential with a status");
    const { token, clientCertificateData: cert, clientKeyData: key, expirationTimestamp: expires } = status;
    const authorization = typeof token === "string" && token !== "" ? `Bearer ${token}` : undefined;
    const keyPair =
      typeof cert === "string" && typeof key === "string" ? this.#checkPair(cert, key) : undefined;
    if (authorization === undefined && keyPair === undefined)
      throw this.#fault("it returned neither token nor certificate");
    const expiresAtMs =
      typeof expires === "string" ? Date.parse(expires) - EXPIRY_MARGIN_MS : Number.POSITIVE_INFINITY;
    return { authorization, keyPair, expiresAtMs };
  }

  #checkPair(cert: string, key: string): { readonly cert: string; readonly key: string } {
    const given = (text: string): Source => ({ place: "", read: () => text });
    try {
      return readKeyPair(given(cert), given(key));
    } catch {
      throw this.#fault("its certificate and key are invalid");
    }
  }

  #fault(reason: string): StoreError {
    const { place, command, installHint } = this.#settings;
    const hint = installHint === "" ? "" : ` (${installHint})`;
    return new StoreError(
      "UNAUTHENTICATED",
      `${place}: failed to get credentials from ${command}: ${reason}${hint}`,
    );
  }
}

function reasonOf(error: NodeJS.ErrnoException & { killed?: boolean }): string {
  if (error.killed) return `it did not exit within ${TIMEOUT_MS / 1000} s`;
  return typeof error.code === "string" ? error.code : `it exited with code ${error.code}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The cluster as passed to the program (Cluster of client.authentication.k8s.io). */
const clusterInfo = (cluster: Members): Members => ({
  server: cluster.server,
  "tls-server-name": cluster["tls-server-name"],
  "insecure-skip-tls-verify": cluster["insecure-skip-tls-verify"],
  "certificate-authority-data": cluster["certificate-authority-data"],
});

/** flanneld's own variables may be secrets (FLANNELD_ETCD_PASSWORD), and are of no use to a plugin. */
const withoutOwnVariables = (environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith(ENVIRONMENT_PREFIX)));
