/** The two ways to a peer, as indexes of arrays: beside the tunnel to its public IP, and through it to its address in the subnet. */

export const UNDERLAY = 0;
export const OVERLAY = 1;
/** One of the two ways. */
export type Path = typeof UNDERLAY | typeof OVERLAY;

/** What the probes of one path saw. filtered: the peer does not answer probes there, although packets get through. */
export type PathState = "unknown" | "up" | "down" | "filtered";
