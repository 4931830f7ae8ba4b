/** Reads single flags of flanneld and checks them; a fault is a ConfigError that begins with the spelling the user used. */

import { type Family, type Ip, parseIp } from "../address/ip.ts";
import { ConfigError, messageOf } from "../base/error.ts";
import type { ParsedFlags } from "./flags.ts";
import { parseGoRegExp } from "./options-regexp.ts";
import type { FlanneldFlags } from "./options-table.ts";

type FlagName = keyof FlanneldFlags;
type NameOfKind<K> = { [N in FlagName]: FlanneldFlags[N]["kind"] extends K ? N : never }[FlagName];

export class FlagReader {
  readonly flags: ParsedFlags<FlanneldFlags>;
  constructor(flags: ParsedFlags<FlanneldFlags>) {
    this.flags = flags;
  }

  /** The error to throw for a flag: "--iface: …" or "FLANNELD_IFACE: …". */
  fault(name: FlagName, complaint: string, options?: ErrorOptions): ConfigError {
    return new ConfigError(`${this.flags.sources[name] ?? `--${name}`}: ${complaint}`, options);
  }

  int(name: NameOfKind<"int">, min: number, max: number): number {
    const value = this.flags.values[name];
    if (value < min || value > max) throw this.fault(name, `${value} is not within ${min}…${max}`);
    return value;
  }

  /** Undefined if the flag is empty or not given. */
  text(name: NameOfKind<"string">): string | undefined {
    return this.flags.values[name] || undefined;
  }

  required(name: NameOfKind<"string">): string {
    const value = this.text(name);
    if (value === undefined) throw this.fault(name, "is empty: leave the flag out, or give it a value");
    return value;
  }

  ip(name: NameOfKind<"string">, family?: Family): Ip | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const ip = parseIp(text);
    if (ip === undefined || (family !== undefined && ip.family !== family)) {
      throw this.fault(
        name,
        `${JSON.stringify(text)} is not an IP${family === undefined ? "" : `v${family}`} address`,
      );
    }
    return ip;
  }

  regExps(name: NameOfKind<"repeatable">): RegExp[] {
    return this.texts(name).map((text) => {
      try {
        return parseGoRegExp(text);
      } catch (error) {
        throw this.fault(name, messageOf(error), { cause: error });
      }
    });
  }

  /** The items of a repeatable flag; empty ones, as templates leave them, do not count. */
  texts(name: NameOfKind<"repeatable">): string[] {
    return this.flags.values[name].filter((text) => text !== "");
  }
}
