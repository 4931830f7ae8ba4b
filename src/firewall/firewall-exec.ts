/** The port to the firewall tools, and their failures as messages for an operator. */

import { FlannelError, isNotFound } from "../base/error.ts";

/** How a command ended and what it printed. `code` is not 0 on failure; that is a value, not an exception. */
export interface CommandResult {
  /** Exit code; 128 + n if signal n ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Its process id, if known. */
  readonly pid?: number | undefined;
}

/** Runs a command found in PATH. Rejects with an error of code `ENOENT` if there is no such command. */
export interface FirewallExec {
  run(command: string, args: readonly string[], stdin?: string): Promise<CommandResult>;
}

/**
 * - `FIREWALL_TOOL_MISSING`: nft or iptables is not installed.
 * - `FIREWALL_LOCKED`: another program holds the xtables lock; the next check retries.
 * - `FIREWALL_REFUSED`: the tool or the kernel refused; its message is quoted.
 */
export type FirewallErrorCode = "FIREWALL_TOOL_MISSING" | "FIREWALL_LOCKED" | "FIREWALL_REFUSED";

/** A tool failed or is missing; the message ends with the remedy. Callers test `code`. */
export class FirewallError extends FlannelError {
  declare readonly code: FirewallErrorCode;
  constructor(code: FirewallErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/** Seconds that iptables may wait for the xtables lock before it gives up (iptables-restore(8), `--wait`). */
export const LOCK_WAIT_SECONDS = 5;

/** iptables' exit code when another program holds the lock (RESOURCE_PROBLEM in its xtables.h). */
const RESOURCE_PROBLEM = 4;

/** Runs a firewall tool and gives its standard output; anything but success is a {@link FirewallError}. */
export async function runTool(
  exec: FirewallExec,
  command: string,
  args: readonly string[],
  stdin?: string,
): Promise<string> {
  let result: CommandResult;
  try {
    result = await exec.run(command, args, stdin);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new FirewallError("FIREWALL_TOOL_MISSING", missingText(command), { cause: error });
  }
  if (result.code === 0) return result.stdout;
  const said = result.stderr.trim() || result.stdout.trim() || `exit code ${result.code}`;
  if (result.code === RESOURCE_PROBLEM && /lock/i.test(said)) {
    throw new FirewallError("FIREWALL_LOCKED", lockedText(command));
  }
  throw new FirewallError("FIREWALL_REFUSED", refusedText(command, said));
}

function missingText(command: string): string {
  const remedy =
    command === "nft"
      ? `install the package "nftables", or set "EnableNFTables": false in the network config to use iptables`
      : `install the package "iptables", or set "EnableNFTables": true in the network config to use nftables`;
  return `"${command}" is not installed and the firewall rules need it: ${remedy}; or run flanneld with --ip-masq=false --iptables-forward-rules=false`;
}

const lockedText = (command: string): string =>
  `${command}: another program has held the xtables lock for ${LOCK_WAIT_SECONDS} s; nothing was changed, the next check retries ` +
  `(“fuser -v /run/xtables.lock” shows who holds it)`;

function refusedText(command: string, said: string): string {
  const advice = ADVICE.find(({ pattern }) => pattern.test(said))?.text(command) ?? "";
  // iptables-restore commits table by table, nft all or nothing
  const state = command === "nft" ? "nothing was changed" : "the table it failed at was not changed";
  return `${command} failed, ${state}${advice}. It said: ${said}`;
}

const ADVICE: readonly { readonly pattern: RegExp; readonly text: (command: string) => string }[] = [
  { pattern: /permission denied|not permitted/i, text: () => "; this needs root (CAP_NET_ADMIN)" },
  {
    pattern: /CHAIN_ADD failed|incompatible/,
    text: () =>
      `; another program made a chain with nft in a table that iptables uses (see “nft list ruleset”): move it to a table of its own, ` +
      `or set "EnableNFTables": true in the network config`,
  },
  {
    pattern: /not supported|protocol wrong|can't initialize|table does not exist|Could not fetch rule set/i,
    text: (command) =>
      command === "nft"
        ? "; the kernel may lack nftables: modprobe nf_tables nft_chain_nat nft_masq"
        : "; the kernel may lack what iptables needs: modprobe iptable_filter iptable_nat xt_MASQUERADE xt_comment xt_mark",
  },
];
