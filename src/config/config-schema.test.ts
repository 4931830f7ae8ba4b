import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseConfigFile } from "./config-file.ts";
import { configSchema } from "./config-schema.ts";
import { NETWORK_KEYS } from "./declared-network.ts";
import { FLANNELD_FLAGS } from "./options-table.ts";

const deploy = (file: string) =>
  readFileSync(new URL(`../../deploy/config/${file}`, import.meta.url), "utf8");

test("the shipped schema is the one of these flags (npm run generate writes it)", () => {
  assert.deepEqual(JSON.parse(deploy("flanneld.schema.json")), JSON.parse(JSON.stringify(configSchema())));
});

test("the schema has every flag that a file may have, with its meaning, and the settings of the network", () => {
  const { properties } = configSchema() as { properties: Record<string, { description?: string }> };
  const notInFiles = ["config-file", "print-config", "version", "o"];
  const names = Object.keys(FLANNELD_FLAGS).filter((name) => !notInFiles.includes(name));
  assert.deepEqual(Object.keys(properties).sort(), [...names, ...NETWORK_KEYS].sort());
  for (const [name, { description }] of Object.entries(properties)) assert.ok(description, name);
});

test("the shipped example is valid, also with what it has in comments", async () => {
  const text = deploy("flanneld.yaml");
  assert.equal((await parseConfigFile(text, "flanneld.yaml")).network?.reserved.length, 0);
  const whole = await parseConfigFile(
    text.replace(/^( *)#(?= *(?:iface|reserved|10\.5\.3))/gm, "$1"),
    "flanneld.yaml",
  );
  assert.equal(whole.network?.reserved.length, 1);
  assert.ok(whole.values.some(({ name }) => name === "iface"));
});
