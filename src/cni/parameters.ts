/**
 * The parameters of a call: the variables CNI_* (CNI specification 1.1.0, section 2, "Parameters"), checked as libcni's
 * plugins check them.
 */

import { CNI_CODE, CniError } from "./cni-error.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export const COMMANDS = ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"] as const;
export type Command = (typeof COMMANDS)[number];

/** One interface of one container. */
export interface Attachment {
  readonly containerId: string;
  /** The interface's name inside the container. */
  readonly ifName: string;
}

export interface Parameters {
  readonly command: Command;
  /** Empty strings for commands that concern no container. */
  readonly attachment: Attachment;
  /** Path of the container's network namespace; empty for DEL if there is none any more. */
  readonly netns: string;
  /** Directories that hold plugins. */
  readonly pluginPath: readonly string[];
  /** Whether the runtime wants the plugin's own namespace to be accepted for a container's. */
  readonly allowsOwnNetns: boolean;
}

/** linux/if.h: the terminating zero is counted. */
const IFNAMSIZ = 16;

const REQUIRED: Readonly<Record<Command, readonly string[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
  GC: ["CNI_PATH"],
  STATUS: ["CNI_PATH"],
  VERSION: [],
};

/** Throws CniError that names all variables that are missing, or the one that cannot be. */
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

/** What container IDs and network names consist of: no path can be made of them. */
export const isIdentifier = (text: string): boolean => /^[a-zA-Z0-9][\w.-]*$/.test(text);

function checkAttachment({ containerId, ifName }: Attachment): void {
  if (!isIdentifier(containerId)) {
    throw invalid("invalid characters in CNI_CONTAINERID", JSON.stringify(containerId));
  }
  if (Buffer.byteLength(ifName) >= IFNAMSIZ) {
    throw invalid("CNI_IFNAME is too long", `${JSON.stringify(ifName)}: at most ${IFNAMSIZ - 1} bytes`);
  }
  if (ifName === "." || ifName === ".." || /[/:\s]/.test(ifName)) {
    throw invalid("CNI_IFNAME cannot be an interface's name", JSON.stringify(ifName));
  }
}

const invalid = (message: string, details = ""): CniError =>
  new CniError(CNI_CODE.invalidEnvironment, message, details);
