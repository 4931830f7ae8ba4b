/**
 * Looks in etcd's v2 API for a network config that the v3 API does not have: `etcdctl mk` and `set` of the years before
 * etcd 3.4 write there, and so do the instructions for Go flannel of that time. One bounded look, beside the start.
 */

import { StoreError } from "../../base/error.ts";
import { type Logger, silentLogger } from "../../base/logger.ts";
import type { EtcdConnectionOptions } from "../../config/options-etcd.ts";
import { openEtcd2Keys } from "./etcd2-keys.ts";

const TIMINGS = { dialTimeoutMs: 800, requestTimeoutMs: 1_000 };
/** Longest config that is repeated in a log line. */
const MAX_TEXT_LENGTH = 1_000;

interface ConfigHintPorts {
  readonly logger: Logger;
  /** Whether a config has something in it that no log may show. */
  readonly hasSecret: (text: string) => boolean;
  readonly signal: AbortSignal;
}

/** Logs where a network config in the v2 API is and what to do, if there is one; else nothing. Never rejects. */
export async function hintAtV2Config(options: EtcdConnectionOptions, ports: ConfigHintPorts): Promise<void> {
  const { logger, hasSecret, signal } = ports;
  try {
    // Silent: the v3 store has logged what is wrong with the options.
    using keys = openEtcd2Keys({ ...options, timings: TIMINGS }, { logger: silentLogger });
    using stop = new DisposableStack();
    const close = () => keys[Symbol.dispose]();
    signal.addEventListener("abort", close);
    stop.defer(() => signal.removeEventListener("abort", close));
    const record = await keys.read(`${keys.prefix}/config`);
    if (record === undefined || record.value.trim() === "" || signal.aborted) return;
    logger.warn(describeHint(record.key, record.value, options, hasSecret(record.value)));
  } catch (error) {
    if (!(error instanceof StoreError)) throw error; // no v2 API there, or not for this user
    logger.debug(`No look at etcd's v2 API: ${error.message}`);
  }
}

/** What the log says of a config that only the v2 API has: both ways on, with a command for the shell. */
export function describeHint(
  key: string,
  text: string,
  options: EtcdConnectionOptions,
  hasSecret: boolean,
): string {
  const flags = {
    cacert: options.caFile,
    cert: options.certFile,
    key: options.keyFile,
    user: options.username,
  };
  const words = [
    ...["ETCDCTL_API=3", "etcdctl", `--endpoints=${quoteForShell(options.endpoints.join(","))}`],
    ...Object.entries(flags).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}=${quoteForShell(value)}`],
    ),
    ...["put", quoteForShell(key)],
  ];
  const line = hasSecret ? undefined : oneLine(text);
  words.push(line === undefined ? "< FILE" : quoteForShell(line));
  const origin = line === undefined ? ` (FILE: what ETCDCTL_API=2 etcdctl get ${key} prints)` : "";
  return (
    `etcd's v3 API has no network config, but its v2 API has one at ${key} (etcdctl mk and set without ETCDCTL_API=3 write ` +
    "there). Either start flanneld with --datastore=etcd2, on all hosts of the network, or copy the config to v3: " +
    `${words.join(" ")}${origin}`
  );
}

/** JSON without what makes it more than one line; undefined = no JSON, too long, or nothing for a terminal. */
function oneLine(text: string): string | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  const line = text.trim().replace(/\s*[\r\n]\s*/g, " "); // JSON has line breaks between its tokens only
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  return line.length > MAX_TEXT_LENGTH || /[\u0000-\u001f\u007f-\u009f]/.test(line) ? undefined : line;
}

const quoteForShell = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
