/**
 * The address of the API server and the identity of flanneld there: its pod (in-cluster), a kubeconfig's user, or anonymous
 * (an API URL alone). The rules are client-go's: a URL overrides the server of the kubeconfig; credentials go over TLS
 * only.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "../../base/error.ts";
import type { Logger } from "../../base/logger.ts";
import { quote } from "../../config/json-members.ts";
import {
  type Credentials,
  fileSource,
  keepReading,
  readCertificates,
  readToken,
  type TlsSettings,
  trustedAuthorities,
} from "./credentials.ts";
import type { KubeStoreOptions } from "./kube-options.ts";

const SERVICE_ACCOUNT_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount";

/** How to reach the API server and as whom. Credentials are read for each use, never kept. */
export interface ApiAccess {
  /** http://… or https://…, without a slash at its end. */
  readonly url: string;
  /** For a new connection; undefined = no TLS. */
  readonly readTls: (() => TlsSettings) | undefined;
  readonly authorize: Credentials["authorize"];
  /** Source of the credentials, for messages: "the pod's token in /var/run/…". */
  readonly identity: string;
  /** Warnings for the operator. */
  readonly notes: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws ConfigError. */
export async function openAccess(
  options: Pick<KubeStoreOptions, "apiUrl" | "kubeconfigFile" | "serviceAccountDirectory">,
  environment: Environment,
  logger: Logger,
): Promise<ApiAccess> {
  const { apiUrl, kubeconfigFile, serviceAccountDirectory = SERVICE_ACCOUNT_DIRECTORY } = options;
  if (kubeconfigFile !== undefined) {
    // Loaded only here: a pod has none, and the YAML parser takes time and memory.
    const { readKubeconfig } = await import("./kubeconfig.ts");
    const { server, serverPlace, credentials } = await readKubeconfig(kubeconfigFile, logger);
    if (apiUrl !== undefined) return accessAt(checkUrl("--kube-api-url", apiUrl), credentials);
    if (server === undefined)
      throw new ConfigError(`${serverPlace} names no server; add it, or set --kube-api-url`);
    return accessAt(checkUrl(serverPlace, server), credentials);
  }
  const isPod = existsSync(join(serviceAccountDirectory, "token"));
  if (apiUrl !== undefined) {
    const url = checkUrl("--kube-api-url", apiUrl);
    const isTls = url.startsWith("https:");
    return accessAt(url, isTls && isPod ? podCredentials(serviceAccountDirectory, logger) : anonymous());
  }
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment;
  if (!host || !port) {
    throw new ConfigError(
      "not in a pod (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set); set --kubeconfig-file or --kube-api-url",
    );
  }
  const url = checkUrl(
    "KUBERNETES_SERVICE_HOST",
    `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
  );
  return accessAt(url, podCredentials(serviceAccountDirectory, logger));
}

function accessAt(url: string, credentials: Credentials): ApiAccess {
  const { readTls, authorize, identity, hasSecrets, notes } = credentials;
  if (url.startsWith("https:")) return { url, readTls, authorize, identity, notes };
  const reason = `of ${identity} are not sent to ${url}, which is not encrypted; use https://`;
  return {
    url,
    readTls: undefined,
    authorize: async () => undefined,
    identity: hasSecrets ? `none (credentials ${reason})` : identity,
    notes: hasSecrets ? [...notes, `Credentials ${reason}`] : notes,
  };
}

function podCredentials(directory: string, logger: Logger): Credentials {
  const tokenFile = fileSource("the pod's token", join(directory, "token"));
  const caFile = fileSource("the pod's certificate authority", join(directory, "ca.crt"));
  const token = keepReading(() => readToken(tokenFile), logger);
  const ca = keepReading(() => readCertificates(caFile), logger);
  return {
    readTls: () => ({ ca: ca() }),
    authorize: async () => `Bearer ${token()}`,
    identity: tokenFile.place,
    hasSecrets: true,
    notes: [],
  };
}

const anonymous = (): Credentials => ({
  readTls: () => ({ ca: trustedAuthorities() }),
  authorize: async () => undefined,
  identity: "none (set --kubeconfig-file)",
  hasSecrets: false,
  notes: [],
});

/** `place` is the source of the URL, for messages. Throws ConfigError. */
function checkUrl(place: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isGood =
    url !== undefined &&
    /^https?:$/.test(url.protocol) &&
    url.username === "" &&
    url.password === "" &&
    url.search === "" &&
    url.hash === "";
  if (!isGood) {
    // Not shown if it may contain a password.
    const shown = text.includes("@") ? "the URL" : quote(text);
    throw new ConfigError(
      `${place}: ${shown} is not the URL of an API server, such as https://10.0.0.1:6443`,
    );
  }
  return url.href.replace(/\/+$/, "");
}
