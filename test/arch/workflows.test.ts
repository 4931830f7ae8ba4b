/**
 * .github: workflows, issue forms and updates are YAML that GitHub reads only when it is too late. What they call exists:
 * make targets, scripts, files; and versions that stand in several places are the same.
 */

import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}
interface Job {
  readonly needs?: string | readonly string[];
  readonly strategy?: { readonly matrix: Readonly<Record<string, readonly string[]>> };
  readonly steps: readonly Step[];
}
interface Workflow {
  readonly on: object;
  readonly permissions: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, Job>>;
}

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const read = (file: string): string => readFileSync(join(root, file), "utf8");
const workflows = globSync(".github/workflows/*.yml", { cwd: root })
  .sort()
  .map((file) => [file, parse(read(file)) as Workflow] as const);
const manifest = JSON.parse(read("package.json")) as {
  readonly version: string;
  readonly optionalDependencies: Readonly<Record<string, string>>;
};
/** Targets that a rule of the Makefile makes. */
const targets = new Set(
  [...read("Makefile").matchAll(/^([a-z][a-z0-9 -]*):(?!=)/gm)].flatMap((match) => match[1]!.split(" ")),
);

/** The commands of a job, written out for each value of its matrix. */
function commandsOf(job: Job): string[] {
  let commands = job.steps.flatMap((step) => step.run?.split(/\n|&&/) ?? []).map((line) => line.trim());
  for (const [name, values] of Object.entries(job.strategy?.matrix ?? {})) {
    const place = `\${{ matrix.${name} }}`;
    commands = commands.flatMap((command) =>
      command.includes(place) ? values.map((value) => command.replaceAll(place, value)) : [command],
    );
  }
  return commands;
}

test("make targets that the docs name exist", () => {
  const pages = globSync("{*.md,docs/*.md,.github/*.md}", { cwd: root });
  const named = pages.flatMap((page) =>
    [...read(page).matchAll(/(?:^ {4}|`)make ([a-z][a-z0-9-]*)/gm)].map((match) => ({
      page,
      target: match[1]!,
    })),
  );
  assert.ok(named.length > 20, `only ${named.length} are recognised`);
  assert.deepEqual(
    named.filter(({ target }) => !targets.has(target)),
    [],
  );
});

test("there is a workflow for changes and one for releases", () => {
  assert.deepEqual(
    workflows.map(([file]) => file),
    [".github/workflows/ci.yml", ".github/workflows/release.yml"],
  );
});

for (const [file, { permissions, jobs, ...workflow }] of workflows) {
  test(`${file}: make targets, scripts and files that it names exist`, () => {
    let found = 0;
    for (const command of Object.values(jobs).flatMap(commandsOf)) {
      const [program, ...args] = command.replace(/^sudo /, "").split(/\s+/);
      if (program === "make") {
        for (const target of args.filter((arg) => /^[a-z-]+$/.test(arg))) {
          found++;
          assert.ok(targets.has(target), `“${command}”: the Makefile has no target ${target}`);
        }
      }
      if (program!.includes("/")) {
        found++;
        assert.ok(existsSync(join(root, program!)), `“${command}”: there is no ${program}`);
        assert.ok(statSync(join(root, program!)).mode & 0o100, `${program} is not executable`);
      }
    }
    assert.ok(found > 0, "no command was recognised");
    for (const step of Object.values(jobs).flatMap((job) => job.steps)) {
      const versionFile = step.with?.["node-version-file"];
      if (versionFile !== undefined) assert.ok(existsSync(join(root, String(versionFile))));
    }
  });

  test(`${file}: each job has steps, needs jobs that exist, and may only read by default`, () => {
    assert.ok(Object.keys(workflow.on).length > 0);
    assert.deepEqual(permissions, { contents: "read" });
    for (const [name, { needs = [], steps }] of Object.entries(jobs)) {
      for (const need of [needs].flat()) assert.ok(need in jobs, `${name} needs ${need}`);
      for (const step of steps) {
        assert.notEqual(step.uses === undefined, step.run === undefined, `${name}: ${JSON.stringify(step)}`);
        if (step.uses !== undefined) assert.match(step.uses, /^actions\/[a-z-]+@(v\d+|[0-9a-f]{40})$/);
      }
    }
  });
}

test("pull requests are tested in every layer", () => {
  const commands = Object.values(workflows[0]![1].jobs).flatMap(commandsOf).join("\n");
  const layers = [...read("scripts/test.ts").matchAll(/\{ name: "(\w+)", pattern/g)].map(
    (match) => match[1]!,
  );
  assert.ok(layers.length >= 5);
  for (const layer of layers) assert.match(commands, new RegExp(`^make .*\\b${layer}\\b`, "m"));
});

test("issue forms have what GitHub requires", () => {
  const forms = globSync(".github/ISSUE_TEMPLATE/*.yml", { cwd: root }).filter(
    (file) => !/config/.test(file),
  );
  assert.ok(forms.length >= 2);
  for (const file of forms) {
    const form = parse(read(file)) as {
      readonly name: string;
      readonly description: string;
      readonly body: readonly { readonly type: string; readonly id?: string; readonly attributes: object }[];
    };
    assert.ok(form.name && form.description, file);
    const inputs = form.body.filter(({ type }) => type !== "markdown");
    assert.ok(inputs.length > 0, file);
    assert.equal(
      new Set(inputs.map(({ id }) => id)).size,
      inputs.length,
      `${file}: ids are missing or repeated`,
    );
    for (const { type, attributes } of form.body) {
      assert.match(type, /^(markdown|input|textarea|dropdown|checkboxes)$/);
      assert.ok(type === "markdown" ? "value" in attributes : "label" in attributes, file);
    }
  }
});

test("updates are looked for in every directory with a lock file", () => {
  const { updates } = parse(read(".github/dependabot.yml")) as {
    readonly updates: readonly { readonly "package-ecosystem": string; readonly directories?: string[] }[];
  };
  const locks = globSync(["package-lock.json", "tools/*/package-lock.json"], { cwd: root });
  const directories = locks.map((file) => join("/", dirname(file))).sort();
  const npm = updates.find((update) => update["package-ecosystem"] === "npm");
  assert.deepEqual([...npm!.directories!].sort(), directories);
});

test(".nvmrc is the Node.js that package.json pins", () => {
  const pinned = new Set(Object.values(manifest.optionalDependencies));
  assert.deepEqual([...pinned], [read(".nvmrc").trim()]);
});

test("the changelog has the version of package.json", () => {
  const versions = [...read("CHANGELOG.md").matchAll(/^## \[([^\]]+)\]/gm)].map((match) => match[1]);
  assert.equal(versions[0], "Unreleased");
  assert.equal(versions[1], manifest.version);
});

test("make help names only targets that exist", () => {
  const named = [...read("Makefile").matchAll(/^# {3}make ([a-z-]+)/gm)].map((match) => match[1]!);
  assert.ok(named.length > 8);
  assert.deepEqual(
    named.filter((target) => !targets.has(target)),
    [],
  );
});
