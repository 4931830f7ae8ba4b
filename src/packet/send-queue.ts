/**
 * Datagrams to be sent, as lists of pieces of packet memory. Consecutive datagrams of one size to one peer share a
 * message, which the kernel splits again (UDP_SEGMENT, udp(7)); only the last of a message may be shorter. One
 * system call sends all messages.
 */

/** Most datagrams in a message: UDP_MAX_SEGMENTS (linux/udp.h). */
const MOST_DATAGRAMS = 64;
/** Most bytes in a message: what fits into one IPv4 packet after IP and UDP headers. */
const MOST_BYTES = 65_507;

// asm-generic/errno-base.h
const EIO = 5;
const EINVAL = 22;

/** Messages in the order in which they are sent. Offsets and sizes are bytes, addresses unsigned 32-bit numbers. */
export interface SendQueue {
  /** Messages in the queue. */
  messages: number;
  /** Pieces of all messages. */
  pieces: number;
  /** Of each message: address of the peer, size of its datagrams (the last may be shorter), their number, their total size. */
  readonly destination: Uint32Array;
  readonly datagramBytes: Int32Array;
  readonly datagrams: Int32Array;
  readonly messageBytes: Int32Array;
  /** Of each message: its first piece. Its pieces end where those of the next message begin. */
  readonly firstPiece: Int32Array;
  /** Of each piece. */
  readonly pieceOffset: Int32Array;
  readonly pieceBytes: Int32Array;
  /** Whether the last message already has a shorter datagram, so that no other may follow. */
  isLastClosed: boolean;
  /** Datagrams that a message may contain: 1 where the kernel does not support UDP_SEGMENT. */
  mostDatagrams: number;
}

/** An empty queue; the limits are those of the system call that sends it. The caller sends the queue before it is full. */
export function createSendQueue(mostMessages: number, mostPieces: number): SendQueue {
  return {
    messages: 0,
    pieces: 0,
    destination: new Uint32Array(mostMessages),
    datagramBytes: new Int32Array(mostMessages),
    datagrams: new Int32Array(mostMessages),
    messageBytes: new Int32Array(mostMessages),
    firstPiece: new Int32Array(mostMessages + 1),
    pieceOffset: new Int32Array(mostPieces),
    pieceBytes: new Int32Array(mostPieces),
    isLastClosed: true,
    mostDatagrams: MOST_DATAGRAMS,
  };
}

/** Whether there is room for another datagram of two pieces, to any destination. */
export const hasRoom = (queue: SendQueue): boolean =>
  queue.messages < queue.destination.length && queue.pieces + 2 <= queue.pieceOffset.length;

/** Begins a datagram of `size` bytes; its pieces have to follow. The caller checks {@link hasRoom} first. */
export function addDatagram(queue: SendQueue, destination: number, size: number): void {
  const last = queue.messages - 1;
  if (
    !queue.isLastClosed &&
    queue.destination[last] === destination &&
    size <= queue.datagramBytes[last]! &&
    queue.datagrams[last]! < queue.mostDatagrams &&
    queue.messageBytes[last]! + size <= MOST_BYTES
  ) {
    queue.datagrams[last] = queue.datagrams[last]! + 1;
    queue.messageBytes[last] = queue.messageBytes[last]! + size;
    queue.isLastClosed = size < queue.datagramBytes[last]!;
    return;
  }
  const message = queue.messages++;
  queue.destination[message] = destination;
  queue.datagramBytes[message] = size;
  queue.datagrams[message] = 1;
  queue.messageBytes[message] = size;
  queue.firstPiece[message] = queue.pieces;
  queue.isLastClosed = false;
}

/** Adds `length` bytes at `offset` to the current datagram. They must not change until the queue is sent. */
export function addPiece(queue: SendQueue, offset: number, length: number): void {
  queue.pieceOffset[queue.pieces] = offset;
  queue.pieceBytes[queue.pieces] = length;
  queue.firstPiece[queue.messages] = ++queue.pieces;
}

/** Forgets all messages, sent or not; the memory is used again. */
export function clearQueue(queue: SendQueue): void {
  queue.messages = 0;
  queue.pieces = 0;
  queue.isLastClosed = true;
}

/**
 * Whether a message was refused because the kernel does not split it. udp(7): EIO if the device cannot compute checksums
 * (before Linux 6.11) or IPsec takes the packets; EINVAL is also returned for datagrams larger than the path MTU (before
 * Linux 6.14), which fail one by one too.
 */
export const isSplitRefused = (queue: SendQueue, message: number, errno: number): boolean =>
  queue.datagrams[message]! > 1 && (errno === EIO || errno === EINVAL);

/** Puts the datagrams of a message into `single` one after the other, and calls `send` for each. Returns how many it sent. */
export function sendApart(
  queue: SendQueue,
  message: number,
  single: SendQueue,
  send: (single: SendQueue) => boolean,
): number {
  let piece = queue.firstPiece[message]!;
  let rest = queue.messageBytes[message]!;
  let sent = 0;
  while (rest > 0) {
    const size = Math.min(rest, queue.datagramBytes[message]!);
    rest -= size;
    clearQueue(single);
    addDatagram(single, queue.destination[message]!, size);
    for (let bytes = 0; bytes < size; piece++) {
      addPiece(single, queue.pieceOffset[piece]!, queue.pieceBytes[piece]!);
      bytes += queue.pieceBytes[piece]!;
    }
    if (send(single)) sent++;
  }
  return sent;
}
