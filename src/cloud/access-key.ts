/**
 * Credentials of the ali-vpc and tencent-vpc backends: the key of the network config, else of the environment, both as Go
 * flannel reads them, else those of the role of the instance, which change every few hours.
 */

import { type AccessKey, CloudError, type CloudSettings } from "./cloud.ts";
import type { CloudPorts } from "./cloud-ports.ts";
import { type Expires, Expiring } from "./expiring.ts";

const ID_VARIABLE = "ACCESS_KEY_ID";
const SECRET_VARIABLE = "ACCESS_KEY_SECRET";
/** Roles hand out the next credentials well before the current ones expire. */
const MARGIN_MS = 5 * 60_000;

/** What requests are signed with. `token` goes with the credentials of a role; it is as secret as `secret`. */
export interface Credentials extends AccessKey {
  readonly token: string | undefined;
}

/** A source of credentials. `roleCredentials` asks the metadata service. Throws CloudError if the environment has half a key. */
export function openCredentials(
  { accessKey }: Pick<CloudSettings, "accessKey">,
  ports: CloudPorts,
  roleCredentials: (signal: AbortSignal) => Promise<Expires<Credentials>>,
): Expiring<Credentials> {
  const key = accessKey ?? keyOf(ports.environment);
  const clock = { nowMs: () => ports.wallClockMs(), marginMs: MARGIN_MS };
  if (key === undefined) return new Expiring(roleCredentials, clock);
  const value = { ...key, token: undefined };
  return new Expiring(async () => ({ value, expiresAtMs: undefined }), clock);
}

function keyOf(environment: CloudPorts["environment"]): AccessKey | undefined {
  // A Secret made with "echo" ends with a newline.
  const [id, secret] = [environment[ID_VARIABLE]?.trim(), environment[SECRET_VARIABLE]?.trim()];
  if (!id && !secret) return undefined;
  if (id && secret) return { id, secret };
  const [given, missing] = id ? [ID_VARIABLE, SECRET_VARIABLE] : [SECRET_VARIABLE, ID_VARIABLE];
  throw new CloudError(
    "CREDENTIALS",
    `environment variable ${given} is set, but ${missing} is not; set both or none`,
  );
}
