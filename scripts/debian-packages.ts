/** Debian's packages for an architecture, unpacked without being installed; apt's lists and status are separate from the machine's. */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Downloads packages into the directory `state` and unpacks them into `place`; returns what {@link describePackage} says of each. */
export function unpackPackages(
  packages: readonly string[],
  architecture: string,
  state: string,
  place: string,
): string[] {
  for (const directory of ["lists/partial", "cache/archives/partial", "downloads"]) {
    mkdirSync(join(state, directory), { recursive: true });
  }
  writeFileSync(join(state, "status"), "");
  const options = {
    "APT::Architecture": architecture,
    "APT::Architectures::": architecture,
    "APT::Sandbox::User": "root",
    "Dir::State::status": join(state, "status"),
    "Dir::State::Lists": join(state, "lists"),
    "Dir::Cache": join(state, "cache"),
  };
  const flags = ["-qq", ...Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`])];
  const cwd = join(state, "downloads");
  execFileSync("apt-get", [...flags, "update"], { cwd, stdio: "inherit" });
  execFileSync("apt-get", [...flags, "download", ...packages], { cwd, stdio: "inherit" });
  const files = globSync("*.deb", { cwd }).map((file) => join(cwd, file));
  for (const file of files) execFileSync("dpkg-deb", ["-x", file, place]);
  return files.map(describePackage).sort();
}

/** "nftables 1.0.6-2+deb12u2 amd64 SHA256" */
function describePackage(file: string): string {
  const fields = execFileSync("dpkg-deb", ["-f", file, "Package", "Version", "Architecture"], {
    encoding: "utf8",
  });
  const fieldOf = (name: string): string => new RegExp(`^${name}: (.*)$`, "m").exec(fields)?.[1] ?? "";
  const digest = createHash("sha256").update(readFileSync(file)).digest("hex");
  return `${fieldOf("Package")} ${fieldOf("Version")} ${fieldOf("Architecture")} ${digest}`;
}
