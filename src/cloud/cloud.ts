/**
 * The port to a cloud's API: the routes that lead to this host, in the route tables of its cloud network. One file for each
 * cloud implements it; cloud-route-provider.ts makes these routes part of the desired state, with pauses and retries, so that
 * an implementation calls the API once and reports what it answered.
 */

import type { Prefix } from "../address/prefix.ts";
import { FlannelError } from "../base/error.ts";

/** What an operator configured. */
export interface CloudSettings {
  /** This host's addresses on the external interface ("192.0.2.11"), by which its interface in the cloud is found. */
  readonly addresses: readonly string[];
  /** Ids of the route tables that the network config names; empty = the cloud knows which. */
  readonly tables: readonly string[];
  /** The access key of the network config; undefined = environment, or a role of the instance. */
  readonly accessKey: AccessKey | undefined;
}

/** A pair of credentials. `secret` is never logged. */
export interface AccessKey {
  readonly id: string;
  readonly secret: string;
}

/** This host as its cloud knows it. */
export interface CloudHost {
  /** Id or name of the instance, for messages. */
  readonly instance: string;
  /** What its routes lead to, in the cloud's words: a network interface, an instance, an address. */
  readonly target: string;
  /** The tables that the host's routes belong in: those of the settings, or the one that the cloud associates with it. */
  readonly tables: readonly string[];
}

/** Where a route belongs: an id of {@link CloudHost.tables} and a canonical prefix ("10.5.3.0/24"). */
export interface RoutePlace {
  readonly table: string;
  readonly destination: string;
}

/** A route that exists. */
export interface CloudRoute extends RoutePlace {
  /** What it leads to, in the cloud's words ("eni-0a1b…"); for messages, and to delete exactly this one. */
  readonly target: string;
  /** Whether it leads to this host, and the cloud says that it works. */
  readonly isOwn: boolean;
  /** Whether its target no longer exists or is stopped, so that packets are dropped. */
  readonly isBlackhole: boolean;
  /** The route's own id or name, where the cloud has one. */
  readonly id?: string;
}

/**
 * One cloud. Every method makes as few calls as possible, obeys `signal`, retries nothing, and throws CloudError. Calls for
 * one table never overlap.
 */
export interface Cloud {
  /** For messages: "EC2 API". */
  readonly name: string;
  /** Finds this host and its tables. */
  identify(signal: AbortSignal): Promise<CloudHost>;
  /**
   * Lets the instance forward packets of other addresses (source/destination check, canIpForward). What it may not do is a
   * warning with the remedy, one line each, and no error: an operator may have done it.
   */
  prepare(host: CloudHost, signal: AbortSignal): Promise<readonly string[]>;
  /** All routes of the host's tables with a destination within `networks`. */
  list(host: CloudHost, networks: readonly Prefix[], signal: AbortSignal): Promise<CloudRoute[]>;
  /** Creates a route to this host; resolves once the cloud has accepted it (an operation is awaited). EXISTS if there is one. */
  create(host: CloudHost, place: RoutePlace, signal: AbortSignal): Promise<void>;
  /** Makes the route at the place of `previous`, which leads elsewhere, lead to this host. */
  replace(host: CloudHost, previous: CloudRoute, signal: AbortSignal): Promise<void>;
  /** Deletes a route. NOT_FOUND if there is none. */
  delete(host: CloudHost, route: CloudRoute, signal: AbortSignal): Promise<void>;
}

/**
 * Codes of {@link CloudError}: what callers distinguish.
 * - `PERMISSION`: the credentials may not make this call; `permission` names what is missing.
 * - `RATE_LIMITED`: too many calls, by this host or by the account; `retryAfterMs` is what the server asked for.
 * - `NOT_FOUND`: no such table, instance or route.
 * - `EXISTS`: the route exists already.
 * - `LIMIT_REACHED`: a quota, such as routes in a table.
 * - `CONFLICT`: another operation is under way, or the answer contradicts the settings.
 * - `UNAVAILABLE`: no answer, a timeout, a server error.
 * - `CREDENTIALS`: missing, expired or wrong.
 * - `CLOCK_SKEW`: the signature was refused because this host's clock is wrong.
 * - `NOT_UNDERSTOOD`: the answer is not the API's (a proxy's or portal's HTML), or lacks what it must have.
 * - `REFUSED`: everything else that the API refused.
 */
export type CloudErrorCode =
  | "PERMISSION"
  | "RATE_LIMITED"
  | "NOT_FOUND"
  | "EXISTS"
  | "LIMIT_REACHED"
  | "CONFLICT"
  | "UNAVAILABLE"
  | "CREDENTIALS"
  | "CLOCK_SKEW"
  | "NOT_UNDERSTOOD"
  | "REFUSED";

/** What an error of a cloud has besides code and message. */
interface CloudErrorDetails extends ErrorOptions {
  /** The missing permission in the cloud's words: "ec2:CreateRoute". */
  readonly permission?: string;
  /** How long the server asked the caller to wait, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
}

/** A cloud's API refused, failed or could not be reached. The message contains no secret. */
export class CloudError extends FlannelError {
  declare readonly code: CloudErrorCode;
  readonly permission: string | undefined;
  readonly retryAfterMs: number | undefined;
  constructor(code: CloudErrorCode, message: string, details: CloudErrorDetails = {}) {
    super(code, message, details);
    this.permission = details.permission;
    this.retryAfterMs = details.retryAfterMs;
  }
}
