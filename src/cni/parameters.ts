/**
 * The parameters of a call: the variables CNI_* (CNI specification 1.1.0, section 2, "Parameters"), checked as libcni checks
 * them. What ADD and CHECK pass on to the delegate and the kernel is checked more strictly: a name that another program
 * could read as an option, a pattern or a path is refused. DEL keeps to libcni's rules, so that a container that another
 * plugin has added under such a name can still be deleted.
 */

import { CNI_CODE, CniError } from "./cni-error.ts";

/** Environment variables; undefined = not set. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The commands of CNI specification 1.1.0. */
export const COMMANDS = ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"] as const;
/** The value of CNI_COMMAND. */
export type Command = (typeof COMMANDS)[number];

/** One interface of one container: what a runtime adds and deletes. */
export interface Attachment {
  readonly containerId: string;
  /** Name of the interface inside the container. */
  readonly ifName: string;
}

/** The checked parameters of one call. */
export interface Parameters {
  readonly command: Command;
  /** Empty strings for commands without a container. */
  readonly attachment: Attachment;
  /** Path of the container's network namespace; DEL: empty if it does not exist any more. */
  readonly netns: string;
  /** Directories of plugins. */
  readonly pluginPath: readonly string[];
  /** CNI_NETNS_OVERRIDE: whether the network namespace of the plugin itself is accepted as the container's. */
  readonly allowsOwnNetns: boolean;
}

/** linux/if.h; includes the terminating zero. */
const IFNAMSIZ = 16;
/** linux/limits.h. The ID is the name of a file, with a prefix or an interface's name. */
const NAME_MAX = 255;

const REQUIRED: Readonly<Record<Command, readonly string[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
  GC: ["CNI_PATH"],
  STATUS: ["CNI_PATH"],
  VERSION: [],
};

/** Reads and checks the variables. Throws CniError (code 4) that names all missing variables, or the invalid one. */
export function readParameters(environment: Environment): Parameters {
  const variable = (name: string): string => environment[name] ?? "";
  const command = COMMANDS.find((name) => name === variable("CNI_COMMAND"));
  if (command === undefined) {
    throw invalid(
      `unknown CNI_COMMAND: ${variable("CNI_COMMAND")}`,
      `this plugin knows ${COMMANDS.join(", ")}`,
    );
  }
  const missing = REQUIRED[command].filter((name) => variable(name) === "");
  if (missing.length > 0) throw invalid(`required env variables [${missing.join(",")}] missing`);
  const attachment = { containerId: variable("CNI_CONTAINERID"), ifName: variable("CNI_IFNAME") };
  if (REQUIRED[command].includes("CNI_IFNAME")) checkAttachment(attachment);
  if (command === "ADD" || command === "CHECK") {
    checkForDelegate(attachment);
    for (const name of ["CNI_NETNS", "CNI_ARGS"]) checkPrintable(name, variable(name));
  }
  return {
    command,
    attachment,
    netns: variable("CNI_NETNS"),
    pluginPath: variable("CNI_PATH")
      .split(":")
      .filter((directory) => directory !== ""),
    allowsOwnNetns: /^(?:1|true)$/i.test(variable("CNI_NETNS_OVERRIDE")),
  };
}

/** Whether the text is a valid container ID or network name (libcni, utils.ValidateContainerID); it contains no path. */
export const isIdentifier = (text: string): boolean => /^[a-zA-Z0-9][\w.-]*$/.test(text);

function checkAttachment({ containerId, ifName }: Attachment): void {
  if (!isIdentifier(containerId)) {
    throw invalid("invalid characters in CNI_CONTAINERID", JSON.stringify(containerId));
  }
  if (encodedBytes(ifName).length >= IFNAMSIZ) {
    throw invalid("CNI_IFNAME is too long", `${JSON.stringify(ifName)}: at most ${IFNAMSIZ - 1} bytes`);
  }
  if (ifName === "." || ifName === ".." || /[/:\s]/.test(ifName)) {
    throw invalid("CNI_IFNAME cannot be an interface's name", JSON.stringify(ifName));
  }
}

/**
 * The kernel's dev_valid_name (net/core/dev.c) also refuses the byte 0xa0 inside other characters, and its dev_alloc_name
 * fills in "%d". The rest is valid for the kernel, but ip(8) reads a leading dash as an option, and a control character
 * changes what a terminal shows.
 */
function checkForDelegate({ containerId, ifName }: Attachment): void {
  if (containerId.length + 1 + encodedBytes(ifName).length > NAME_MAX) {
    throw invalid(
      "CNI_CONTAINERID is too long",
      `${containerId.length} characters; at most ${NAME_MAX - IFNAMSIZ} are possible`,
    );
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is searched for
  if (/^-|[%\u0000-\u001f\u007f-\u009f]/.test(ifName) || encodedBytes(ifName).includes("%A0")) {
    throw invalid(
      "CNI_IFNAME cannot be an interface's name",
      `${JSON.stringify(ifName)}: no leading "-", no "%", no control characters`,
    );
  }
}

/** One text for each byte of the UTF-8 encoding: the character itself, or "%A0". */
const encodedBytes = (text: string): string[] =>
  encodeURIComponent(text.toWellFormed()).match(/%..|./g) ?? [];

/** Both appear in logs and, for CNI_NETNS, as an argument of other programs. */
function checkPrintable(name: string, value: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is searched for
  if (/[\u0000-\u001f\u007f-\u009f]/.test(value) || (name === "CNI_NETNS" && value.startsWith("-"))) {
    throw invalid(`invalid characters in ${name}`, JSON.stringify(value));
  }
}

const invalid = (message: string, details = ""): CniError =>
  new CniError(CNI_CODE.invalidEnvironment, message, details);
