/**
 * kubeconfig files (clientcmd/v1 of client-go): the cluster and the user of the current context. Paths are relative to the
 * file's directory. What flanneld does not support is refused, never ignored.
 */

import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { ConfigError } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import { isObject, kindOf, type Members, quote } from "../../config/json-members.ts";
import {
  type Credentials,
  dataSource,
  fileSource,
  keepReading,
  openAuthorities,
  readKeyPair,
  readToken,
  type Source,
} from "./credentials.ts";
import { ExecCredentials, readExecSettings } from "./exec-credentials.ts";

/** The current context of a kubeconfig, as far as flanneld supports it. */
export interface Kubeconfig {
  /** Undefined = the cluster names none. */
  readonly server: string | undefined;
  /** For messages: "kubeconfig /a/b, cluster c". */
  readonly serverPlace: string;
  readonly credentials: Credentials;
}

/** Throws ConfigError. */
export async function readKubeconfig(path: string, logger: Logger): Promise<Kubeconfig> {
  const file = `--kubeconfig-file ${path}`;
  const config = parseFile(file, path);
  const contextName = textIn(config, "current-context", file);
  if (contextName === undefined) {
    const names = entriesOf(config, "contexts", file).map(({ name }) => quote(String(name)));
    throw new ConfigError(
      `${file} has no current-context: choose one of ${names.join(", ") || "its contexts (it has none)"} with kubectl config use-context`,
    );
  }
  const context = namedIn(config, "contexts", "context", contextName, file);
  const clusterName = textIn(context, "cluster", `${file}, context ${contextName}`) ?? "";
  const clusterPlace = `${file}, cluster ${clusterName}`;
  const cluster = namedIn(config, "clusters", "cluster", clusterName, file);
  const userName = textIn(context, "user", `${file}, context ${contextName}`);
  const user = userName === undefined ? {} : namedIn(config, "users", "user", userName, file);
  const at: Place = { name: clusterPlace, directory: dirname(resolve(path)) };
  if (textIn(cluster, "proxy-url", clusterPlace) !== undefined) {
    throw new ConfigError(
      `${clusterPlace} wants a proxy (proxy-url), which flanneld cannot use: give a server that it reaches directly`,
    );
  }
  return {
    server: textIn(cluster, "server", clusterPlace),
    serverPlace: clusterPlace,
    credentials: readCredentials(
      cluster,
      at,
      user,
      { ...at, name: `${file}, user ${userName ?? ""}` },
      logger,
    ),
  };
}

/** Where in which file, for messages, and from where its paths count. */
interface Place {
  readonly name: string;
  readonly directory: string;
}

function readCredentials(
  cluster: Members,
  clusterAt: Place,
  user: Members,
  userAt: Place,
  logger: Logger,
): Credentials {
  refuseUnknownWays(user, userAt);
  const isUnchecked = cluster["insecure-skip-tls-verify"] === true;
  const authorities = openAuthorities(sourceIn(cluster, "certificate-authority", clusterAt), logger);
  const servername = textIn(cluster, "tls-server-name", clusterAt.name);
  const certificate = sourceIn(user, "client-certificate", userAt);
  const key = sourceIn(user, "client-key", userAt);
  if ((certificate === undefined) !== (key === undefined)) {
    throw new ConfigError(`${userAt.name}: client-certificate and client-key go together: give both`);
  }
  const readPair = certificate && key && keepReading(() => readKeyPair(certificate, key), logger);
  const exec =
    user.exec === undefined ? undefined : new ExecCredentials(readExecSettings(user.exec, cluster, userAt));
  const authorize = exec === undefined ? openAuthorization(user, userAt, logger) : undefined;
  return {
    readTls: () => ({
      ca: authorities(),
      ...(readPair?.() ?? exec?.keyPair),
      ...(servername !== undefined && { servername }),
      ...(isUnchecked && { rejectUnauthorized: false }),
    }),
    authorize: exec === undefined ? async () => authorize?.() : (refused) => exec.authorize(refused),
    identity: userAt.name,
    hasSecrets: readPair !== undefined || exec !== undefined || authorize !== undefined,
    notes: isUnchecked
      ? [`${clusterAt.name} switches the check of the server's certificate off (insecure-skip-tls-verify)`]
      : [],
  };
}

/** The header of a user with a token or a password; undefined = it has neither. Throws ConfigError, now only. */
function openAuthorization(user: Members, at: Place, logger: Logger): (() => string) | undefined {
  const tokenFile = textIn(user, "tokenFile", at.name);
  const token = textIn(user, "token", at.name);
  if (tokenFile !== undefined || token !== undefined) {
    // As in client-go, the file counts where both are given.
    const source: Source =
      tokenFile === undefined
        ? { place: `${at.name}, token`, read: () => token! }
        : fileSource(`${at.name}: token file`, resolve(at.directory, tokenFile));
    const read = keepReading(() => readToken(source), logger);
    return () => `Bearer ${read()}`;
  }
  const username = textIn(user, "username", at.name);
  if (username === undefined) return undefined;
  const password = textIn(user, "password", at.name) ?? "";
  const header = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  return () => header;
}

function refuseUnknownWays(user: Members, at: Place): void {
  if (user["auth-provider"] !== undefined) {
    throw new ConfigError(
      `${at.name} has an auth-provider, which Kubernetes gave up in 1.26: use an exec plugin, a token or a client certificate`,
    );
  }
  const impersonated = ["as", "as-uid", "as-groups", "as-user-extra"].find(
    (name) => user[name] !== undefined,
  );
  if (impersonated !== undefined) {
    throw new ConfigError(
      `${at.name} wants to act as another user (${impersonated}), which flanneld does not do: name that user`,
    );
  }
}

/** `name` is a file, `name`-data its content in base64, which wins. Throws ConfigError. */
function sourceIn(members: Members, name: string, at: Place): Source | undefined {
  const data = textIn(members, `${name}-data`, at.name);
  if (data !== undefined) return dataSource(`${at.name}, ${name}-data`, data);
  const path = textIn(members, name, at.name);
  return path === undefined ? undefined : fileSource(`${at.name}: ${name}`, resolve(at.directory, path));
}

function parseFile(file: string, path: string): Members {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new ConfigError(`${file}: cannot be read: ${reason}`, { cause: error });
  }
  let config: unknown;
  try {
    // Its warnings would quote the text too, and go to stderr by themselves.
    config = parse(text, { logLevel: "error" });
  } catch (error) {
    // The parser's message quotes the text, which may contain a token: only the line is passed on.
    const line = (error as { linePos?: [{ line: number }] }).linePos?.[0].line;
    throw new ConfigError(`${file} is not valid YAML${line === undefined ? "" : ` (line ${line})`}`);
  }
  if (!isObject(config))
    throw new ConfigError(
      `${file} is not a kubeconfig: it contains ${config === null ? "nothing" : "no mapping"}`,
    );
  return config;
}

function entriesOf(config: Members, list: string, file: string): Members[] {
  const entries = config[list] ?? [];
  if (!Array.isArray(entries) || !entries.every(isObject)) {
    throw new ConfigError(`${file}: ${list} is not a list of mappings`);
  }
  return entries;
}

function namedIn(config: Members, list: string, member: string, name: string, file: string): Members {
  const entry = entriesOf(config, list, file).find((candidate) => candidate.name === name);
  if (entry === undefined) throw new ConfigError(`${file}: ${list} has no ${member} named ${quote(name)}`);
  const value = entry[member] ?? {};
  if (!isObject(value)) throw new ConfigError(`${file}: ${member} ${quote(name)} is not a mapping`);
  return value;
}

/** Undefined = absent or empty. Throws ConfigError; the value is not repeated, it may be a secret. */
function textIn(members: Members, name: string, place: string): string | undefined {
  const value = members[name] ?? "";
  if (typeof value === "string") return value === "" ? undefined : value;
  throw new ConfigError(
    `${place}: ${name} must be a string, but is ${kindOf(value).split(" ").slice(0, 2).join(" ")}`,
  );
}
