/**
 * `flanneld --print-config`: each value and where it comes from, for people in the form of flanneld.yaml, or as JSON.
 * Secrets are replaced.
 */

import type { ConfigFile } from "../config/config-file.ts";
import { type DeclaredNetwork, placeOf } from "../config/declared-network.ts";
import { type FlagSpec, type FlagTable, type ParsedFlags, variableOf } from "../config/flags.ts";
import { showValue } from "../config/flags-text.ts";
import { hideSecrets } from "./config-report.ts";

/** From where a value is. */
type Origin = "default" | "flag" | "environment" | "file";

interface Setting {
  readonly name: string;
  readonly value: unknown;
  readonly from: Origin;
  /** "--iface", "FLANNELD_IFACE", "/etc/flannel/flanneld.yaml:3"; null = the default. */
  readonly source: string | null;
}

/** The text for `-o text` or `-o json`. `prefix`: of the flags' variables. */
export function printConfig<T extends FlagTable>(
  table: T,
  flags: ParsedFlags<T>,
  {
    file,
    prefix,
    format,
  }: { readonly file: ConfigFile | undefined; readonly prefix: string; readonly format: string },
): string {
  const settings = settingsOf(table, flags, prefix);
  const network = file?.network && networkSettings(file.network);
  if (format === "json") {
    const byName = (list: readonly Setting[]) =>
      Object.fromEntries(list.map(({ name, ...rest }) => [name, rest]));
    const whole = {
      file: file?.path ?? null,
      settings: byName(settings),
      network: network ? byName(network) : null,
    };
    return JSON.stringify(whole, undefined, 2);
  }
  const lines = [...settings, ...(network ?? [])].map(({ name, value, source }) => {
    return `${`${name}: ${yamlOf(value)}`.padEnd(VALUE_WIDTH)}  # ${source ?? "default"}`;
  });
  return [
    file === undefined ? "# no configuration file" : `# configuration file: ${file.path}`,
    ...lines,
  ].join("\n");
}

const VALUE_WIDTH = 60;

function settingsOf<T extends FlagTable>(table: T, flags: ParsedFlags<T>, prefix: string): Setting[] {
  const settings = Object.entries<FlagSpec>(table).filter(
    ([name, spec]) => !spec.commandLineOnly && name !== "version",
  );
  return settings.map(([name, spec]) => {
    const source = flags.sources[name] ?? null;
    const value = showValue(spec, flags.values[name]);
    return { name, value, from: originOf(source, variableOf(prefix, name)), source };
  });
}

function originOf(source: string | null, variable: string): Origin {
  if (source === null) return "default";
  if (source === variable) return "environment";
  return source.startsWith("-") ? "flag" : "file";
}

const networkSettings = ({ stated, reserved }: DeclaredNetwork): Setting[] => [
  ...Object.entries(stated).map(([name, { value, source }]): Setting => {
    const shown: unknown = JSON.parse(hideSecrets(JSON.stringify(value)));
    return { name: placeOf(name), value: shown, from: "file", source };
  }),
  ...reserved.map(
    ({ subnet, publicIp, source }): Setting => ({
      ...{ name: "Subnet.reserved", value: { [subnet]: publicIp } },
      ...{ from: "file", source },
    }),
  ),
];

/** A flow value; JSON is one (YAML 1.2.2 §1.3). */
const yamlOf = (value: unknown): string =>
  typeof value === "string" &&
  /^[\w/][\w./:+-]*[\w/]$/.test(value) &&
  !/^(?:true|false|null|[\d.]+)$/i.test(value)
    ? value
    : JSON.stringify(value);
