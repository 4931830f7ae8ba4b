/**
 * The logger that every part which may log receives. Levels follow klog: `error` means that an operator must act,
 * `warn` that something is wrong and the program continues or retries, `info` is the story of a run, `debug` is shown
 * with `-v` at or above its verbosity. Never log per packet; never log a secret.
 */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
  /** Shown when the verbosity (`-v`) is at least `verbosity` (default 1). */
  debug(message: string, verbosity?: number): void;
}

/** Says nothing. For tests and library use. */
export const silentLogger: Logger = { info() {}, warn() {}, error() {}, debug() {} };
