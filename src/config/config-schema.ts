/**
 * The JSON Schema of flanneld.yaml (draft 2020-12, https://json-schema.org/draft/2020-12), made from the table of flags: for
 * editors and for checks before a file reaches a host. flanneld's own checks go further.
 */

import { defaultOf, type FlagSpec, type FlagTable } from "./flags.ts";
import { FAMILY_RULES, type FamilyRules } from "./network-family.ts";
import { FLANNELD_FLAGS } from "./options-table.ts";

type Schema = Readonly<Record<string, unknown>>;

/** The whole schema. */
export function configSchema(): Schema {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    $id: "flanneld.schema.json",
    title: "flanneld.yaml",
    description:
      "Settings of flanneld and flannelctl on a host: every flag by its name, and the network config.",
    type: "object",
    additionalProperties: false,
    properties: {
      ...NETWORK_SETTINGS,
      ...Object.fromEntries(fileFlags().map(([name, spec]) => [name, schemaOf(spec)])),
    },
    dependentSchemas: {
      ...Object.fromEntries(
        ["Subnet", "Backend", "EnableNFTables"].map((name) => [name, { required: ["Network"] }]),
      ),
      Network: { not: { required: ["network"] } },
    },
  };
}

/** The flags that a file may have. */
const fileFlags = (): [name: string, spec: FlagSpec][] =>
  Object.entries(FLANNELD_FLAGS as FlagTable).filter(
    ([name, { commandLineOnly }]) => !commandLineOnly && name !== "version" && name !== "config-file",
  );

const TEXT: Schema = { type: ["string", "number"] };

function schemaOf(spec: FlagSpec): Schema {
  const value = defaultOf(spec);
  const isEmpty = value === "" || (Array.isArray(value) && value.length === 0);
  const about = { description: spec.help, ...(!isEmpty && { default: value }) };
  switch (spec.kind) {
    case "bool":
      return { ...about, type: "boolean" };
    case "int":
      return { ...about, type: "integer" };
    case "string":
      return spec.choices === undefined ? { ...about, ...TEXT } : { ...about, enum: spec.choices };
    case "list":
    case "repeatable":
      return { ...about, oneOf: [TEXT, { type: "array", items: TEXT }] };
  }
}

const PREFIX: Schema = { type: "string", pattern: "^[0-9A-Fa-f.:]+/[0-9]+$" };
const RANGES: readonly Schema[] = [PREFIX, { type: "array", items: PREFIX, minItems: 1, maxItems: 2 }];
const RANGE: Schema = { oneOf: RANGES };

const boundsOf = ({ defaultLength, longestSubnet, family }: FamilyRules): Record<string, Schema> => ({
  length: {
    ...{ type: "integer", minimum: 1, maximum: longestSubnet, default: defaultLength },
    description: "prefix length of each host's subnet",
  },
  minimum: { type: "string", description: `the first IPv${family} subnet that a host may get` },
  maximum: { type: "string", description: `the last IPv${family} subnet that a host may get` },
});

const NETWORK_SETTINGS: Readonly<Record<string, Schema>> = {
  Network: {
    description: "the range of the network, from which each host gets a subnet; of both families as a list",
    oneOf: [
      ...RANGES,
      { type: "object", properties: { range: RANGE }, required: ["range"], additionalProperties: false },
    ],
  },
  Subnet: {
    description: "how the network is divided",
    type: "object",
    additionalProperties: false,
    properties: {
      ...boundsOf(FAMILY_RULES.ipv4),
      reserved: {
        description: "subnets for certain hosts: the public IP of each",
        ...{ type: "object", additionalProperties: { type: "string" } },
      },
      ipv6: { type: "object", properties: boundsOf(FAMILY_RULES.ipv6), additionalProperties: false },
    },
  },
  Backend: {
    description: "the backend: its type, or the Backend object of the network config",
    oneOf: [{ type: "string" }, { type: "object", properties: { Type: { type: "string" } } }],
  },
  EnableNFTables: { type: "boolean", default: false, description: "nftables instead of iptables" },
};
