/**
 * The software bill of materials, CycloneDX 1.5 (ECMA-424): what is in tree, packages and image of the npm packages of the lock
 * file, of the crates of the CNI plugin's engine, and of Debian's packages. Its serial number is made of its contents.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "./archive.ts";
import type { ReleasePlan } from "./release-plan.ts";

interface Component {
  readonly type: "library" | "application";
  readonly "bom-ref": string;
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly hashes?: readonly { readonly alg: "SHA-512" | "SHA-256"; readonly content: string }[];
  readonly licenses?: readonly { readonly expression: string }[];
}

/** A Debian package in the image. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
}

/** Writes flannel-ts-VERSION.cdx.json. */
export function writeSbom(plan: ReleasePlan, debian: readonly DebianPackage[]): void {
  const components = [...npmComponents(plan.root), ...crates(plan.root), ...debian.map(debianComponent)];
  const purl = `pkg:generic/flannel-ts@${plan.version}`;
  const contents = {
    metadata: {
      timestamp: new Date(plan.epochSeconds * 1000).toISOString(),
      lifecycles: [{ phase: "build" }],
      component: {
        ...{ type: "application", "bom-ref": purl, name: "flannel-ts", version: plan.version, purl },
        licenses: [{ expression: "Apache-2.0" }],
        properties: [{ name: "commit", value: plan.commit }],
      },
    },
    components,
    dependencies: [{ ref: purl, dependsOn: components.map((component) => component["bom-ref"]) }],
  };
  const bom = {
    ...{
      $schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
      bomFormat: "CycloneDX",
      specVersion: "1.5",
    },
    ...{ serialNumber: `urn:uuid:${uuidOf(JSON.stringify(contents))}`, version: 1 },
    ...contents,
  };
  writeFileSync(join(plan.out, `flannel-ts-${plan.version}.cdx.json`), `${JSON.stringify(bom, null, 2)}\n`);
}

/** Of the lock file: without development dependencies, and of koffi's native parts those for Linux on our architectures. */
function npmComponents(root: string): Component[] {
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    readonly packages: Readonly<
      Record<string, { version: string; dev?: true; integrity?: string; license?: string }>
    >;
  };
  return Object.entries(packages)
    .filter(([path, { dev }]) => path !== "" && !dev)
    .map(([path, entry]) => ({ name: path.replace(/^.*node_modules\//, ""), ...entry }))
    .filter(({ name }) => !/^@koromix\/koffi-/.test(name) || /-linux-(x64|arm64)$/.test(name))
    .map(({ name, version, integrity = "", license }) => {
      const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
      return {
        ...{ type: "library", "bom-ref": purl, name, version, purl },
        hashes: [
          {
            alg: "SHA-512",
            content: Buffer.from(integrity.replace("sha512-", ""), "base64").toString("hex"),
          },
        ],
        ...(license === undefined ? {} : { licenses: [{ expression: license }] }),
      };
    });
}

/** Of Cargo.lock, whose format is a subset of TOML; all that is compiled is statically linked. */
function crates(root: string): Component[] {
  const lock = readFileSync(join(root, "native/cni-engine/Cargo.lock"), "utf8");
  return lock
    .split("[[package]]")
    .map((text) => (key: string) => new RegExp(`^${key} = "(.*)"$`, "m").exec(text)?.[1])
    .filter((value) => value("checksum") !== undefined)
    .map((value) => {
      const [name, version, content] = [value("name")!, value("version")!, value("checksum")!];
      const purl = `pkg:cargo/${name}@${version}`;
      return { type: "library", "bom-ref": purl, name, version, purl, hashes: [{ alg: "SHA-256", content }] };
    });
}

function debianComponent({ name, version, architecture }: DebianPackage): Component {
  const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}`;
  return { type: "library", "bom-ref": purl, name, version, purl };
}

/** What assemble.ts notes beside the image's root file systems: a line "name version architecture" for each package. */
export function readDebianPackages(file: string): DebianPackage[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    const [name = "", version = "", architecture = ""] = line.split(" ");
    return { name, version, architecture };
  });
}

/** A UUID of version 8 (RFC 9562): the first bits of a digest. */
function uuidOf(text: string): string {
  const hex = sha256(text);
  const variant = ((Number.parseInt(hex[16]!, 16) & 0x3) | 0x8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
