/** The provider of cloud routes on this host. The client of a cloud is loaded when a route in that cloud is desired. */

import type { Logger } from "../base/logger.ts";
import { systemTimers } from "../base/timers.ts";
import type { AwsPorts } from "../cloud/aws/aws-vpc.ts";
import { type AccessKey, type Cloud, CloudError, type CloudSettings } from "../cloud/cloud.ts";
import { CloudRouteProvider } from "../cloud/cloud-route-provider.ts";

/** By the backend's type. */
const CLIENTS: Readonly<Record<string, (settings: CloudSettings, ports: AwsPorts) => Promise<Cloud>>> = {
  "aws-vpc": async (...args) => (await import("../cloud/aws/aws-vpc.ts")).createAwsVpc(...args),
};

export interface CloudProviderOptions {
  readonly keys: {
    /** The secret with a fingerprint; undefined = unknown. */
    secretOf(fingerprint: string): string | undefined;
  };
  readonly readFile: (path: string) => string | undefined;
  readonly logger: Logger;
  /** Ends calls under way. */
  readonly signal: AbortSignal;
}

/** Loads and calls nothing before it is needed. */
export const createCloudProvider = (options: CloudProviderOptions): CloudRouteProvider =>
  new CloudRouteProvider({
    open: (cloud, settings) => openCloud(cloud, settings, options),
    accessKeyOf(fingerprint) {
      const secret = options.keys.secretOf(fingerprint);
      return secret === undefined ? undefined : (JSON.parse(secret) as AccessKey);
    },
    ...{ logger: options.logger, signal: options.signal, timers: systemTimers, random: Math.random },
  });

/** The client of a cloud; throws CloudError if this version has none. */
async function openCloud(
  cloud: string,
  settings: CloudSettings,
  { readFile, logger }: Pick<CloudProviderOptions, "readFile" | "logger">,
): Promise<Cloud> {
  const create = CLIENTS[cloud];
  if (create === undefined) throw new CloudError("REFUSED", `there is no client for ${cloud}`);
  const { createDirectHttp, createHttp } = await import("../cloud/http.ts");
  return create(settings, {
    environment: process.env,
    ...{ http: createHttp(process.env), direct: createDirectHttp(), readFile, logger },
    ...{ timers: systemTimers, wallClockMs: Date.now },
  });
}
