/** Completions and manual pages as the release has them: read by the shells and by mandoc, and completing real lines. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { FLANNELCTL } from "../support/programs.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const place = mkdtempSync(join(tmpdir(), "reference-"));
before(() => {
  for (const script of ["completions", "man-pages"]) {
    run(process.execPath, "--no-warnings", join(ROOT, `scripts/${script}.ts`), place);
  }
});
after(() => rmSync(place, { recursive: true }));

/** What a command prints; it must succeed and complain about nothing. */
function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8", timeout: 60_000 });
  assert.deepEqual([error, status, stderr], [undefined, 0, ""], `${command} ${args.join(" ")}`);
  return stdout;
}

/** Lines as far as they are written, and what has to be offered: all, or among others. */
const CASES: readonly (readonly [words: string[], offered: string[]])[] = [
  [["flannelctl", "lea"], ["leases"]],
  [["flannelctl", "leases", "rel"], ["release"]],
  [["flannelctl", "leases", "--wat"], ["--watch"]],
  [
    ["flannelctl", "status", "-o", ""],
    ["json", "table", "yaml"],
  ],
  [["flannelctl", "lab", "up", "--back"], ["--backend"]],
  [["flanneld", "--iface-r"], ["--iface-regex"]],
  [
    ["flanneld", "--datastore", "e"],
    ["embedded", "etcd2", "etcd3"],
  ],
];

test("bash: every case, both spellings of a flag, interfaces, and a value after =", () => {
  for (const name of ["flannelctl", "flanneld"]) run("bash", "-n", join(place, "bash", name));
  const offer = (words: readonly string[]): string[] => {
    const script = `. ${place}/bash/${words[0]}; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _${words[0]}; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return run("bash", "-c", script, "bash", ...words)
      .trim()
      .split("\n")
      .sort();
  };
  for (const [words, offered] of CASES) assert.deepEqual(offer(words), offered, words.join(" "));
  assert.deepEqual(offer(["flanneld", "-iface-r"]), ["-iface-regex"]);
  assert.ok(offer(["flanneld", "--iface", "l"]).includes("lo"));
  assert.deepEqual(offer(["flannelctl", "leases", "--datastore", "=", "em"]), ["embedded"]);
  assert.deepEqual(offer(["flannelctl", "leases", "reserve", "x", ""]), [""]);
});

test("bash at a terminal: tabs complete the line", () => {
  const typed = `flannelctl() { echo "ran:$*:"; }; . ${place}/bash/flannelctl\nflannelctl lea\tli\t--wat\t\nexit\n`;
  const { stdout } = spawnSync("script", ["-qec", "bash --norc --noprofile -i", "/dev/null"], {
    ...{ input: typed, encoding: "utf8", timeout: 60_000 },
    env: { ...process.env, TERM: "dumb" },
  });
  assert.match(stdout, /ran:leases list --watch:/);
});

test("fish: every case, with descriptions", () => {
  for (const name of ["flannelctl", "flanneld"]) run("fish", "-n", join(place, `fish/${name}.fish`));
  for (const [words, offered] of CASES) {
    const line = words.join(" ");
    const script = `source ${place}/fish/${words[0]}.fish; complete -C${JSON.stringify(line)}`;
    const lines = run("fish", "--no-config", "-c", script).trim().split("\n");
    assert.deepEqual(lines.map((each) => each.split("\t")[0]).sort(), offered, line);
    assert.ok(
      lines.every((each) => each.includes("\t")),
      lines.join("\n"),
    );
  }
});

test("zsh reads the scripts, alone and as flannelctl completion prints them", () => {
  for (const name of ["_flannelctl", "_flanneld"]) run("zsh", "-n", join(place, "zsh", name));
  const given =
    'autoload -Uz compinit; compinit -D -u; eval "$($1 completion zsh)"; print $_comps[flannelctl] $_comps[flanneld]';
  assert.equal(run("zsh", "-f", "-c", given, "zsh", FLANNELCTL).trim(), "_flannelctl _flanneld");
});

test("mandoc finds nothing wrong with the manual pages, which have every command", () => {
  for (const name of ["flanneld", "flannelctl"])
    run("mandoc", "-Tlint", "-Wwarning", join(place, `man8/${name}.8`));
  const text = run("mandoc", "-Tascii", join(place, "man8/flannelctl.8")).replace(/.[\b]/g, "");
  for (const command of ["status", "leases reserve", "config set", "lab up", "store serve", "completion"]) {
    assert.match(text, new RegExp(`^ {3}flannelctl ${command}\\b`, "m"), command);
  }
  assert.match(
    readFileSync(join(place, "man8/flanneld.8"), "utf8"),
    /^\.TH FLANNELD 8 \d{4}-\d\d-\d\d "flannel\\-ts v/,
  );
});
