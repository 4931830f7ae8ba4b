/** The flags of flanneld that are about the program itself: its log, its configuration file, what it prints. */

import type { FlagTable } from "./flags.ts";

/** Of the log: klog's. */
export const LOG_FLAGS = {
  v: { kind: "int", value: "level", default: 0, help: "verbosity of the log" },
  vmodule: { kind: "string", value: "text", help: "accepted for compatibility (klog), without effect" },
  log_backtrace_at: {
    kind: "string",
    value: "text",
    help: "accepted for compatibility (klog), without effect",
  },
  logtostderr: {
    kind: "bool",
    default: true,
    help: "log to stderr; false = to files (klog), for which the flags below are",
  },
  log_dir: {
    kind: "string",
    value: "dir",
    help: "directory of the log files, with -logtostderr=false; by default the one for temporary files",
  },
  log_file: { kind: "string", value: "file", help: "one log file instead, with -logtostderr=false" },
  log_file_max_size: {
    kind: "int",
    value: "megabytes",
    default: 100,
    help: "size at which a log file is followed by another, 0 = never; ten of each severity are kept",
  },
  alsologtostderr: { kind: "bool", help: "with -logtostderr=false: log to stderr as well" },
  stderrthreshold: {
    kind: "string",
    value: "severity",
    default: "ERROR",
    choices: ["INFO", "WARNING", "ERROR", "FATAL"],
    help: "with -logtostderr=false: lines of this severity and above go to stderr as well",
  },
} as const satisfies FlagTable;

/** Of flanneld and of flannelctl's commands that need the datastore. */
export const CONFIG_FILE_FLAG = {
  "config-file": {
    kind: "string",
    value: "file",
    default: "/etc/flannel/flanneld.yaml",
    help: "YAML file with values of flags and the network config; the default one need not exist; off = none",
  },
} as const satisfies FlagTable;

/** Of flanneld: what it reads, and what it prints instead of running. */
export const PROGRAM_FLAGS = {
  ...CONFIG_FILE_FLAG,
  "print-config": {
    kind: "bool",
    commandLineOnly: true,
    help: "print each value and where it comes from, without secrets, and exit",
  },
  version: { kind: "bool", help: "print version, commit, Node.js and platform, and exit" },
  o: {
    kind: "string",
    value: "format",
    default: "text",
    choices: ["text", "json"],
    commandLineOnly: true,
    help: "of --version and --print-config: text or json",
  },
} as const satisfies FlagTable;
