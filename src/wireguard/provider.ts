/**
 * The provider of WireGuard identities, peers and allowed IPs, on devices of the kernel or of this process (devices.ts). The
 * devices themselves are links, which rtnetlink holds.
 *
 * A peer is always sent as a whole, with all its allowed IPs: kernels before 6.16 cannot remove a single one. Neither
 * reports changes, so the devices are compared with what they were every few seconds.
 */

import { FlannelError } from "../base/error.ts";
import { sleep, type Timers } from "../base/timers.ts";
import { explain } from "../state/advice.ts";
import { applyToModel } from "../state/diff.ts";
import {
  type AllowedIp,
  keyOf,
  type StateChange,
  type StateKind,
  type StateObject,
  type StateOperation,
  sameObject,
  type WireguardIdentity,
  type WireguardPeerEntry,
} from "../state/objects.ts";
import type { Ownership } from "../state/operation.ts";
import type { Notice, Provider } from "../state/provider.ts";
import { base64Of, bytesOf } from "./base64.ts";
import type { DeviceChange, ObservedDevice, WireguardDevices } from "./devices.ts";
import type { HandshakeWatch, PeerTraffic } from "./handshake-watch.ts";
import type { TrafficTotals } from "./traffic-totals.ts";

/** Keys by what may be shown of them. */
export interface WireguardSecrets {
  /** The private key that belongs to a public key (base64); undefined = it is not this host's. */
  privateKeyOf(publicKey: string): Uint8Array | undefined;
  /** The preshared key with a fingerprint; undefined = unknown. */
  presharedKeyOf(fingerprint: string): Uint8Array | undefined;
  /** What may be shown of a preshared key. */
  fingerprintOf(key: Uint8Array): string;
}

export interface WireguardProviderOptions {
  /** What implements a device. */
  readonly devicesOf: (device: string) => WireguardDevices;
  readonly secrets: WireguardSecrets;
  readonly timers: Timers;
  /** Learns what the devices say about their peers; undefined = not needed. */
  readonly handshakes?: HandshakeWatch | undefined;
  readonly totals?: TrafficTotals | undefined;
}

/** How often the devices are compared with the model. */
const POLL_MS = 5_000;

export class WireguardProvider implements Provider {
  readonly name = "WireGuard";
  readonly kinds: ReadonlySet<StateKind> = new Set(["wireguard", "wireguard-peer", "allowed-ip"]);
  readonly #options: WireguardProviderOptions;
  /** What the devices have, as of the last observation and what was applied since. */
  readonly #model = new Map<string, StateObject>();
  /** Endpoints as they were set: the device changes them when a peer roams. */
  readonly #endpoints = new Map<string, string>();

  constructor(options: WireguardProviderOptions) {
    this.#options = options;
  }

  async observe({ devices }: Ownership, kinds: ReadonlySet<StateKind>): Promise<StateObject[]> {
    const objects = [...devices].flatMap((name) =>
      this.#objectsOf(name, this.#options.devicesOf(name).observe(name)),
    );
    this.#model.clear();
    for (const object of objects) this.#model.set(keyOf(object), object);
    return objects.filter(({ kind }) => kinds.has(kind));
  }

  async apply(operations: readonly StateOperation[]): Promise<(FlannelError | undefined)[]> {
    const results = new Array<FlannelError | undefined>(operations.length).fill(undefined);
    const changes: DeviceChange[] = [];
    /** For each change, the operations that it carries out. */
    const carried: number[][] = [];
    const peers = new Map<
      string,
      { readonly device: string; readonly publicKey: string; readonly at: number[] }
    >();
    const touch = (device: string, publicKey: string, position: number) => {
      const key = `${device} ${publicKey}`;
      const peer = peers.get(key) ?? { device, publicKey, at: [] };
      peer.at.push(position);
      peers.set(key, peer);
    };
    for (const [position, operation] of operations.entries()) {
      applyToModel(this.#model, operation);
      const { object } = operation;
      try {
        if (object.kind === "wireguard" && operation.action !== "remove") {
          changes.push(this.#identityChange(object));
          carried.push([position]);
        } else if (object.kind === "wireguard-peer") touch(object.device, object.publicKey, position);
        else if (object.kind === "allowed-ip") {
          touch(object.device, object.publicKey, position);
          if (operation.action === "replace" && operation.previous.kind === "allowed-ip")
            touch(object.device, operation.previous.publicKey, position);
        }
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        results[position] = error;
      }
    }
    const allowedIps = this.#allowedIpsOf(peers);
    for (const { device, publicKey, at } of peers.values()) {
      try {
        changes.push(this.#peerChange(device, publicKey, allowedIps.get(`${device} ${publicKey}`)!));
        carried.push(at);
      } catch (error) {
        if (!(error instanceof FlannelError)) throw error;
        for (const position of at) results[position] = error;
      }
    }
    for (const device of new Set(changes.map((change) => change.device))) {
      const at = [...changes.keys()].filter((index) => changes[index]!.device === device);
      const errors = this.#options.devicesOf(device).apply(at.map((index) => changes[index]!));
      for (const [number, error] of errors.entries()) {
        if (error === undefined) continue;
        for (const position of carried[at[number]!]!) {
          const { object } = operations[position]!;
          // Whether the device has its endpoint is unknown now: it is set again.
          if (object.kind === "wireguard-peer")
            this.#endpoints.delete(`${object.device} ${object.publicKey}`);
          results[position] ??= explain(operations[position]!, error);
        }
      }
    }
    return results;
  }

  async *watch(ownership: () => Ownership, signal: AbortSignal): AsyncGenerator<Notice> {
    while (!signal.aborted) {
      await sleep(this.#options.timers, POLL_MS, signal);
      if (signal.aborted || this.#model.size === 0) continue;
      const devices = [...ownership().devices].map(
        (name) => [name, this.#options.devicesOf(name).observe(name)] as const,
      );
      const peers = devices.flatMap(([name, device]) => trafficOf(name, device));
      this.#options.handshakes?.note(peers);
      this.#options.totals?.note(
        devices.flatMap(([name, device]) => (device === undefined ? [] : [name])),
        peers,
      );
      const now = new Map(
        devices
          .flatMap(([name, device]) => this.#objectsOf(name, device))
          .map((object) => [keyOf(object), object]),
      );
      const changes = changesBetween(this.#model, now);
      if (changes.length > 0) yield changes;
    }
  }

  #objectsOf(
    device: string,
    observed: ObservedDevice | undefined,
  ): (WireguardIdentity | WireguardPeerEntry | AllowedIp)[] {
    const { secrets } = this.#options;
    if (observed === undefined) {
      this.#forgetEndpoints(device, new Set());
      return [];
    }
    const { publicKey, listenPort, peers } = observed;
    const objects: (WireguardIdentity | WireguardPeerEntry | AllowedIp)[] = [];
    if (publicKey !== undefined)
      objects.push({ kind: "wireguard", device, publicKey: base64Of(publicKey), listenPort });
    const present = new Set<string>();
    for (const peer of peers) {
      const key = base64Of(peer.publicKey);
      const id = `${device} ${key}`;
      present.add(id);
      objects.push({
        kind: "wireguard-peer",
        device,
        publicKey: key,
        endpoint: this.#endpoints.get(id) ?? peer.endpoint ?? "",
        keepaliveSeconds: peer.keepaliveSeconds,
        presharedKeyId: peer.presharedKey === undefined ? "" : secrets.fingerprintOf(peer.presharedKey),
      });
      for (const prefix of peer.allowedIps)
        objects.push({ kind: "allowed-ip", device, prefix, publicKey: key });
    }
    this.#forgetEndpoints(device, present);
    return objects;
  }

  /** A peer that was removed gets its endpoint again when it returns. */
  #forgetEndpoints(device: string, present: ReadonlySet<string>): void {
    const prefix = `${device} `;
    for (const key of this.#endpoints.keys())
      if (!present.has(key) && key.startsWith(prefix)) this.#endpoints.delete(key);
  }

  #identityChange({ device, publicKey, listenPort }: WireguardIdentity): DeviceChange {
    const privateKey = this.#options.secrets.privateKeyOf(publicKey);
    if (privateKey === undefined)
      throw new FlannelError("EINVAL", `the private key of ${publicKey} is not known to this process`);
    return { type: "identity", device, privateKey, listenPort };
  }

  /** Makes the device's peer what the model says. */
  #peerChange(device: string, publicKey: string, allowedIps: readonly string[]): DeviceChange {
    const key = `${device} ${publicKey}`;
    const peer = this.#model.get(`wireguard-peer ${key}`);
    if (peer?.kind !== "wireguard-peer") {
      this.#endpoints.delete(key);
      return { type: "remove peer", device, publicKey: bytesOf(publicKey) };
    }
    const { endpoint, keepaliveSeconds, presharedKeyId } = peer;
    const presharedKey =
      presharedKeyId === "" ? undefined : this.#options.secrets.presharedKeyOf(presharedKeyId);
    if (presharedKeyId !== "" && presharedKey === undefined)
      throw new FlannelError("EINVAL", `the preshared key ${presharedKeyId} is not known to this process`);
    const isNew = this.#endpoints.get(key) !== endpoint;
    this.#endpoints.set(key, endpoint);
    const changed = isNew && endpoint !== "" ? endpoint : undefined;
    return {
      type: "peer",
      device,
      peer: { publicKey: bytesOf(publicKey), presharedKey, endpoint: changed, keepaliveSeconds, allowedIps },
    };
  }

  /** The allowed IPs of these peers, by the same key. */
  #allowedIpsOf(peers: ReadonlyMap<string, unknown>): ReadonlyMap<string, string[]> {
    const byPeer = new Map<string, string[]>();
    for (const key of peers.keys()) byPeer.set(key, []);
    for (const object of this.#model.values())
      if (object.kind === "allowed-ip")
        byPeer.get(`${object.device} ${object.publicKey}`)?.push(object.prefix);
    return byPeer;
  }
}

const trafficOf = (device: string, observed: ObservedDevice | undefined): PeerTraffic[] =>
  (observed?.peers ?? []).map((peer) => ({ ...peer, device, publicKey: base64Of(peer.publicKey) }));

/** What differs between two observations. */
function changesBetween(
  before: ReadonlyMap<string, StateObject>,
  now: ReadonlyMap<string, StateObject>,
): StateChange[] {
  const changes: StateChange[] = [];
  for (const [key, object] of now) {
    const known = before.get(key);
    if (known === undefined || !sameObject(known, object)) changes.push({ action: "set", object });
  }
  for (const [key, object] of before) if (!now.has(key)) changes.push({ action: "touched", object });
  return changes;
}
