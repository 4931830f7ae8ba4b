/** Constants of the protocol (wireguard.com/papers/wireguard.pdf, §6.1), and of the kernel (drivers/net/wireguard/messages.h). */

/** Its initiator replaces a session after this time or number of messages. */
export const REKEY_AFTER_MS = 120_000;
/** Less than the paper's 2^60: counters are exact numbers up to 2^53. */
export const REKEY_AFTER_MESSAGES = 2 ** 52;
/** A session is no longer used after this. */
export const REJECT_AFTER_MS = 180_000;
export const REJECT_AFTER_MESSAGES = 2 ** 53 - 8192;
/** Handshakes without an answer are repeated during this time, at intervals of REKEY_TIMEOUT_MS and a jitter. */
export const REKEY_ATTEMPT_MS = 90_000;
export const REKEY_TIMEOUT_MS = 5_000;
export const MOST_JITTER_MS = 333;
export const KEEPALIVE_TIMEOUT_MS = 10_000;
/** Initiations of one peer that are answered per second. */
export const INITIATIONS_PER_SECOND = 50;
/** Packets of one peer that wait for a session. */
export const MOST_STAGED = 128;
/** The same after a start, when there are no sessions yet and all that waited in the TUN device (its queue holds 500) comes at once. */
export const MOST_STAGED_AT_START = 512;
export const START_MS = 30_000;
