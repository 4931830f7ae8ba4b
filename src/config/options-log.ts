/** Where the log goes: klog's flags (https://pkg.go.dev/k8s.io/klog/v2), with the same precedence. */

import { SEVERITIES } from "../base/log-files.ts";
import type { FlagReader } from "./options-reader.ts";
import type { FlanneldFlags } from "./options-table.ts";

/** Files of the log; undefined = it goes to stderr only. */
interface LogFileSettings {
  /** Undefined = the system's directory for temporary files. */
  readonly directory: string | undefined;
  readonly file: string | undefined;
  /** 0 = no limit. */
  readonly maxBytes: number;
  /** Lines of this severity and above go to stderr as well: an index of {@link SEVERITIES}. */
  readonly stderrThreshold: number;
}

export interface LogOptions {
  readonly verbosity: number;
  readonly files: LogFileSettings | undefined;
  /** Flags without effect, for a warning. */
  readonly notes: readonly string[];
}

/** Of klog, without effect while the log goes to stderr. */
const FOR_FILES = ["log_dir", "log_file", "log_file_max_size", "alsologtostderr", "stderrthreshold"] as const;

/** Throws ConfigError for the first fault. */
export function readLogOptions(read: FlagReader<FlanneldFlags>): LogOptions {
  const { sources, values } = read.flags;
  const verbosity = read.int("v", 0, 100);
  const threshold = readSeverity(read);
  const maxBytes = read.int("log_file_max_size", 0, 1_000_000) * 1024 * 1024;
  if (values.logtostderr) {
    const given = FOR_FILES.filter((name) => sources[name] !== undefined).map((name) => sources[name]);
    const notes =
      given.length === 0
        ? []
        : [`${given.join(", ")}: no effect, because the log goes to stderr; add -logtostderr=false`];
    return { verbosity, files: undefined, notes };
  }
  return {
    verbosity,
    files: {
      directory: read.text("log_dir"),
      file: read.text("log_file"),
      maxBytes,
      stderrThreshold: values.alsologtostderr ? 0 : threshold,
    },
    notes: [],
  };
}

/** klog takes names in any case, and numbers. */
function readSeverity(read: FlagReader<FlanneldFlags>): number {
  const text = read.required("stderrthreshold");
  const index = /^[0-3]$/.test(text) ? Number(text) : SEVERITIES.indexOf(text.toUpperCase());
  if (index >= 0) return index;
  throw read.fault("stderrthreshold", `${JSON.stringify(text)} is no severity: use ${SEVERITIES.join(", ")}`);
}
