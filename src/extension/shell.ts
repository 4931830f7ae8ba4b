/** The port through which the extension's commands run: linux/shell-runner.ts on a real host. */

export interface ShellCommand {
  /** For `sh -c`. */
  readonly text: string;
  /** Variables in addition to this process's environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Standard input. */
  readonly input: string;
}

/**
 * Runs a command, and resolves with what it printed to standard output, trimmed. Rejects with FlannelError that has its exit
 * code and the end of its standard error: `EXIT`, `SIGNAL`, `ETIMEDOUT`, `ECANCELED` (this process is stopping), `EMSGSIZE`
 * (it printed more than a lease can hold), `EILSEQ` (what it printed is not UTF-8).
 */
export type RunShell = (command: ShellCommand) => Promise<string>;
