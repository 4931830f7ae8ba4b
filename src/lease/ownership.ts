/**
 * Which host a lease belongs to: the one rule, for every decision that depends on it.
 *
 * A host is known by its public IPv4 address, as in Go flannel; by its public IPv6 address where one of the two has no
 * IPv4, because in an IPv6-only network all hosts would share the same “no IPv4 address” (W9).
 *
 * A host that starts with another address finds its lease by other evidence: the identity of its backend (the MAC of a
 * device that is still there), or the subnets of its previous run. Both may be a copy: a cloned machine has them while the
 * original lives, and a subnet that expired may be another host's by now. So they count only if no other host answers at
 * the lease's address. If one does, a host with the same backend identity takes a fresh one.
 *
 * Hosts that swap addresses answer for each other, and are no clones: the lease of another backend identity names the
 * address, written later than the lease in question, or this host is at the address of another one's lease itself.
 */

import { formatIp, sameIp } from "../address/ip.ts";
import { readMember } from "../config/json-members.ts";
import { type Lease, type LeaseAttributes, type SubnetPair, sameSubnets } from "./lease.ts";
import { supersedes } from "./precedence.ts";

/** The addresses by which a host is known. */
export type HostAddresses = Pick<LeaseAttributes, "publicIp" | "publicIpv6">;

/** What a host needs to find its own leases after its addresses changed. */
export interface HostIdentity {
  /** Whether the backend's identity is that of an earlier run; if not, it was drawn at this start and no lease has it. */
  readonly isKept: boolean;
  /** Whether another host answers at one of these addresses; resolves within seconds. */
  isInUse(addresses: HostAddresses): Promise<boolean>;
  /** Gives this host's backend a fresh identity, because another host has the present one; what it publishes then. */
  replace(): LeaseAttributes;
}

/** A lease as the datastore lists it. */
interface ListedLease {
  readonly subnets: SubnetPair;
  /** Undefined = malformed: no host's. */
  readonly attributes: LeaseAttributes | undefined;
  /** See {@link Lease.renewedAt}. */
  readonly renewedAt?: bigint | undefined;
}

/** What a host knows about itself when it looks for its lease. */
export interface HostEvidence {
  readonly attributes: LeaseAttributes;
  /** The subnets of the previous run. */
  readonly previous: SubnetPair | undefined;
  /** Undefined = the public address is the only evidence. */
  readonly identity?: HostIdentity | undefined;
}

/** Which of the leases in the datastore are this host's, and what it has to publish. */
export interface Recognition<Listed> {
  /** The leases of this host, those with the best evidence first. */
  readonly own: readonly Listed[];
  /** What this host publishes. */
  readonly attributes: LeaseAttributes;
}

/** Whether both are the same host's. Two hosts without any address in a common family are not. */
export function isSameHost(a: HostAddresses, b: HostAddresses): boolean {
  if (a.publicIp !== undefined && b.publicIp !== undefined) return sameIp(a.publicIp, b.publicIp);
  return a.publicIpv6 !== undefined && b.publicIpv6 !== undefined && sameIp(a.publicIpv6, b.publicIpv6);
}

/** What a running host knows about itself. */
export interface OwnEvidence {
  /** What it publishes, and what it published before and the datastore may still contain. */
  readonly published: readonly HostAddresses[];
}

/** Whether a lease with these attributes is this host's own. Undefined attributes (malformed) are no host's. */
export const isOwn = (attributes: LeaseAttributes | undefined, { published }: OwnEvidence): boolean =>
  attributes !== undefined && published.some((own) => isSameHost(own, attributes));

/** Whether two backends have the same identity: they claim the same VTEP or the same key. */
export function hasSameIdentity(a: LeaseAttributes, b: LeaseAttributes): boolean {
  if (a.backendType !== b.backendType) return false;
  const identities = new Set(identitiesOf(a));
  return identitiesOf(b).some((identity) => identities.has(identity));
}

/** The leases of this host among those listed. Asks the network only about a lease that looks like an earlier one of this host. */
export async function recognizeLeases<Listed extends ListedLease>(
  listed: readonly Listed[],
  { attributes, previous, identity }: HostEvidence,
): Promise<Recognition<Listed>> {
  const evidence = { published: [attributes] };
  const byAddress = listed.filter((lease) => isOwn(lease.attributes, evidence));
  if (identity === undefined) return { own: byAddress, attributes };
  const isRenumbered = identity.isKept && byAddress.some((lease) => isOfOther(lease.attributes!, attributes));
  const byIdentity: Listed[] = [];
  const bySubnets: Listed[] = [];
  let isCopied = false;
  for (const lease of listed) {
    const theirs = lease.attributes;
    if (theirs === undefined || theirs.backendType !== attributes.backendType || byAddress.includes(lease))
      continue;
    // An identity that was drawn at this start is in no lease.
    if (identity.isKept && hasSameIdentity(theirs, attributes)) {
      const isMoved =
        isRenumbered || listed.some((other) => replaces(other, lease)) || !(await identity.isInUse(theirs));
      if (isMoved) byIdentity.push(lease);
      else isCopied = true;
    } else if (previous !== undefined && sameSubnets(lease.subnets, previous)) {
      const isEvidence = !(identity.isKept && isOfOther(theirs, attributes));
      if (isEvidence && !(await identity.isInUse(theirs))) bySubnets.push(lease);
    }
  }
  return {
    own: [...byIdentity, ...byAddress, ...bySubnets],
    attributes: isCopied ? identity.replace() : attributes,
  };
}

/** Whether the lease names another VTEP or key than `own`. */
const isOfOther = (theirs: LeaseAttributes, own: LeaseAttributes): boolean =>
  theirs.backendType === own.backendType && identitiesOf(theirs).length > 0 && !hasSameIdentity(theirs, own);

/** Whether the host of `lease` came later to the address that the host of `former` had. */
const replaces = (lease: ListedLease, former: ListedLease): boolean =>
  lease.attributes !== undefined &&
  former.attributes !== undefined &&
  isSameHost(lease.attributes, former.attributes) &&
  isOfOther(lease.attributes, former.attributes) &&
  supersedes(lease, former);

/** The host that a lease belongs to, for a message: "192.168.0.9", or "another host" if it has no address. */
export function describeOwner({ publicIp, publicIpv6 }: HostAddresses): string {
  const ip = publicIp ?? publicIpv6;
  return ip === undefined ? "another host" : formatIp(ip);
}

/** What no two hosts may share, of the backends whose leases contain such a thing (vxlan, wireguard). */
const identitiesOf = ({ backendData, backendV6Data }: LeaseAttributes): string[] =>
  [backendData, backendV6Data].flatMap((data) => {
    if (typeof data !== "object" || data === null) return [];
    return ["VtepMAC", "PublicKey"].flatMap((name) => {
      const value = readMember(data as Readonly<Record<string, unknown>>, name);
      return typeof value === "string" && value !== "" ? [`${name} ${value.toLowerCase()}`] : [];
    });
  });
