/** What a cloud's client needs of the process. */

import type { Timers } from "../base/timers.ts";
import type { HttpSend } from "./http.ts";

/** Requests go out through `http` to APIs, and through `direct` to the metadata service of the instance. */
export interface CloudPorts {
  readonly http: HttpSend;
  readonly direct: HttpSend;
  /** Endpoints and access keys; proxies are the business of `http`. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly timers: Timers;
  /** Milliseconds since 1970. */
  readonly wallClockMs: () => number;
}
