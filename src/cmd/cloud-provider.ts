/** The provider of cloud routes on this host. The client of a cloud is loaded when a route in that cloud is desired. */

import type { Logger } from "../base/logger.ts";
import { systemTimers } from "../base/timers.ts";
import type { AwsPorts } from "../cloud/aws/aws-vpc.ts";
import { type AccessKey, type Cloud, CloudError, type CloudSettings } from "../cloud/cloud.ts";
import { CloudRouteProvider } from "../cloud/cloud-route-provider.ts";
import { takeEnvironment } from "../cloud/take-environment.ts";

/** By the backend's type. */
const CLIENTS: Readonly<Record<string, (settings: CloudSettings, ports: AwsPorts) => Promise<Cloud>>> = {
  "ali-vpc": async (...args) => new (await import("../cloud/ali/ali-cloud.ts")).AliCloud(...args),
  "aws-vpc": async (...args) => (await import("../cloud/aws/aws-vpc.ts")).createAwsVpc(...args),
  gce: async (...args) => new (await import("../cloud/gce/gce-cloud.ts")).GceCloud(...args),
  "tencent-vpc": async (...args) =>
    new (await import("../cloud/tencent/tencent-cloud.ts")).TencentCloud(...args),
};

export interface CloudProviderOptions {
  readonly keys: {
    /** The secret with a fingerprint; undefined = unknown. */
    secretOf(fingerprint: string): string | undefined;
  };
  readonly readFile: (path: string) => string | undefined;
  readonly logger: Logger;
  readonly resyncMs: number;
  /** Ends calls under way. */
  readonly signal: AbortSignal;
}

/** Loads and calls nothing before it is needed. */
export function createCloudProvider(options: CloudProviderOptions): CloudRouteProvider {
  let environment: NodeJS.ProcessEnv | undefined;
  return new CloudRouteProvider({
    open(cloud, settings) {
      environment ??= takeEnvironment(process.env);
      return openCloud(cloud, settings, { ...options, environment });
    },
    accessKeyOf(fingerprint) {
      const secret = options.keys.secretOf(fingerprint);
      return secret === undefined ? undefined : (JSON.parse(secret) as AccessKey);
    },
    ...{
      logger: options.logger,
      signal: options.signal,
      resyncMs: options.resyncMs,
      timers: systemTimers,
      random: Math.random,
    },
  });
}

/** The client of a cloud; throws CloudError if this version has none. */
export async function openCloud(
  cloud: string,
  settings: CloudSettings,
  {
    readFile,
    logger,
    environment,
  }: Pick<CloudProviderOptions, "readFile" | "logger"> & { readonly environment: NodeJS.ProcessEnv },
): Promise<Cloud> {
  const create = CLIENTS[cloud];
  if (create === undefined) throw new CloudError("REFUSED", `there is no client for ${cloud}`);
  const { createDirectHttp, createHttp } = await import("../cloud/http.ts");
  return create(settings, {
    ...{ environment, http: createHttp(environment), direct: createDirectHttp(), readFile, logger },
    ...{ timers: systemTimers, wallClockMs: Date.now },
  });
}
