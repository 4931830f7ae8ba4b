/** Reads single flags and checks them; a fault is a ConfigError that begins with the spelling the user used. */

import { type Family, type Ip, parseIp } from "../address/ip.ts";
import { ConfigError, messageOf } from "../base/error.ts";
import type { FlagTable, ParsedFlags } from "./flags.ts";
import { parseGoRegExp } from "./options-regexp.ts";

type NameOfKind<T extends FlagTable, K> = { [N in keyof T]: T[N]["kind"] extends K ? N : never }[keyof T];

export class FlagReader<T extends FlagTable> {
  readonly flags: ParsedFlags<T>;
  constructor(flags: ParsedFlags<T>) {
    this.flags = flags;
  }

  /** The error to throw for a flag: "--iface: …" or "FLANNELD_IFACE: …". */
  fault(name: keyof T, complaint: string, options?: ErrorOptions): ConfigError {
    return new ConfigError(`${this.flags.sources[name] ?? `--${String(name)}`}: ${complaint}`, options);
  }

  int(name: NameOfKind<T, "int">, min: number, max: number): number {
    const value = this.#value<number>(name);
    if (value < min || value > max) throw this.fault(name, `${value} is not within ${min}…${max}`);
    return value;
  }

  /** Undefined if the flag is empty or not given. */
  text(name: NameOfKind<T, "string">): string | undefined {
    return this.#value<string>(name) || undefined;
  }

  required(name: NameOfKind<T, "string">): string {
    const value = this.text(name);
    if (value === undefined) throw this.fault(name, "is empty: leave the flag out, or give it a value");
    return value;
  }

  ip(name: NameOfKind<T, "string">, family?: Family): Ip | undefined {
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

  regExps(name: NameOfKind<T, "repeatable">): RegExp[] {
    return this.texts(name).map((text) => {
      try {
        return parseGoRegExp(text);
      } catch (error) {
        throw this.fault(name, messageOf(error), { cause: error });
      }
    });
  }

  /** The items of a repeatable flag, without empty ones, which templates leave. */
  texts(name: NameOfKind<T, "repeatable">): string[] {
    return this.#value<readonly string[]>(name).filter((text) => text !== "");
  }

  /** The callers' types say which kind `name` is; TypeScript cannot conclude the value's type from that. */
  #value<V>(name: keyof T): V {
    return this.flags.values[name] as V;
  }
}
