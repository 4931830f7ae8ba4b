/** Keeps the record of extension commands (extension-record.ts) in its file. */

import { messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import type { ExtensionPeer } from "../state/objects.ts";
import { formatRecord, parseRecord } from "./extension-record.ts";

export interface RecordPorts {
  /** The record of an earlier run; undefined = there is none. */
  readonly readRecord: () => string | undefined;
  /** Rejects with FlannelError. */
  readonly writeRecord: (text: string) => Promise<void>;
  readonly logger: Logger;
}

export class RecordKeeper {
  readonly #ports: RecordPorts;
  readonly #peers: () => readonly ExtensionPeer[];
  #written = formatRecord([]);
  #isStale = false;
  #isWriting = false;

  /** `peers` are those to record whenever the file is written. */
  constructor(ports: RecordPorts, peers: () => readonly ExtensionPeer[]) {
    this.#ports = ports;
    this.#peers = peers;
  }

  /** The peers of an earlier run; none if there is no record, or a malformed one, which is reported. */
  read(): readonly ExtensionPeer[] {
    const text = this.#ports.readRecord();
    const peers = text === undefined ? [] : parseRecord(text);
    if (peers === undefined) {
      this.#ports.logger.warn(
        "The record of extension commands is malformed; SubnetRemoveCommand is not run for peers that left while flanneld was stopped",
      );
    } else if (text !== undefined) this.#written = text;
    return peers ?? [];
  }

  /** Writes the record in the background, once for all changes that come meanwhile. */
  write(): void {
    this.#isStale = true;
    if (!this.#isWriting) void this.#writeWhileStale();
  }

  async #writeWhileStale(): Promise<void> {
    this.#isWriting = true;
    while (this.#isStale) {
      this.#isStale = false;
      const text = formatRecord(this.#peers());
      if (text === this.#written) continue;
      try {
        await this.#ports.writeRecord(text);
        this.#written = text;
      } catch (error) {
        this.#ports.logger.warn(`Failed to record extension commands: ${messageOf(error)}`);
      }
    }
    this.#isWriting = false;
  }
}
