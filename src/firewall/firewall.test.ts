import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { hasCode } from "../base/error.ts";
import { type Logger, silentLogger } from "../base/logger.ts";
import { Firewall } from "./firewall.ts";
import { type CommandResult, type FirewallExec, runTool } from "./firewall-exec.ts";
import { parseIptablesVersion } from "./place.ts";
import { firewallRules } from "./rules.ts";

const RULES = firewallRules({
  ipv4: { network: parsePrefix("10.5.0.0/16")!, subnet: parsePrefix("10.5.1.0/24")! },
  ipv6: undefined,
  ipMasq: true,
  forwardRules: true,
  randomFully: true,
});

const ok = (stdout = ""): CommandResult => ({ code: 0, stdout, stderr: "" });

/** Tools by answers: a text is printed with success, a missing entry is a missing tool. */
function scripted(
  tools: Record<string, string | ((args: readonly string[], stdin?: string) => CommandResult)>,
) {
  const commands: string[] = [];
  const inputs: string[] = [];
  const exec: FirewallExec = {
    async run(command, args, stdin) {
      commands.push([command, ...args].join(" "));
      if (stdin !== undefined) inputs.push(stdin);
      const tool = tools[command];
      if (tool === undefined) throw Object.assign(new Error(`spawn ${command} ENOENT`), { code: "ENOENT" });
      return typeof tool === "string" ? ok(tool) : tool(args, stdin);
    },
  };
  return { exec, commands, inputs };
}

test("an iptables before 1.6.2: no --random-fully, no --wait, and it is said once", async () => {
  const said: string[] = [];
  const logger: Logger = { ...silentLogger, info: (message) => said.push(message) };
  const { exec, commands, inputs } = scripted({
    iptables: "iptables v1.6.1\n",
    "iptables-save": "",
    "iptables-restore": "",
  });
  await using firewall = new Firewall({ mode: "iptables", exec, logger });
  await firewall.ensure(RULES);
  await firewall.ensure(RULES);
  assert.ok(commands.includes("iptables-restore --noflush"));
  assert.match(inputs[0]!, /-j MASQUERADE$/m);
  assert.doesNotMatch(inputs[0]!, /random-fully/);
  assert.equal(said.length, 1);
});

test("F21 each iptables is asked for its version once, the plain one only for itself where both variants are there", async () => {
  const nft = "iptables v1.8.9 (nf_tables)";
  const { exec, commands } = scripted({
    ...{ iptables: nft, "iptables-nft": nft, "iptables-legacy": "iptables v1.8.9 (legacy)" },
    ...{ "iptables-save": "", "iptables-restore": "", "ip6tables-nft-save": "", nft: "" },
    ...{ "iptables-legacy-save": "", "ip6tables-legacy-save": "" },
  });
  await using firewall = new Firewall({ mode: "iptables", exec, logger: silentLogger });
  await firewall.ensure(RULES);
  assert.deepEqual(commands.filter((command) => command.endsWith("--version")).sort(), [
    "iptables --version",
    "iptables-legacy --version",
    "iptables-nft --version",
  ]);
});

test("versions", () => {
  assert.deepEqual(parseIptablesVersion("iptables v1.8.9 (nf_tables)"), {
    backend: "nf_tables",
    isAtLeast162: true,
  });
  assert.deepEqual(parseIptablesVersion("iptables v1.8.9 (legacy)"), {
    backend: "legacy",
    isAtLeast162: true,
  });
  assert.deepEqual(parseIptablesVersion("iptables v1.6.2"), { backend: "legacy", isAtLeast162: true });
  assert.deepEqual(parseIptablesVersion("iptables v1.4.21"), { backend: "legacy", isAtLeast162: false });
  assert.deepEqual(parseIptablesVersion("what?"), { backend: "legacy", isAtLeast162: false });
});

test("a change between dump and write is planned again; a second refusal is the caller's", async () => {
  let writes = 0;
  const refusals = { count: 1 };
  const { exec } = scripted({
    nft: (args) => {
      if (args[0] !== "-f") return ok();
      writes++;
      return writes <= refusals.count
        ? { code: 1, stdout: "", stderr: "Error: No such file or directory" }
        : ok();
    },
  });
  await using firewall = new Firewall({ mode: "nftables", exec, logger: silentLogger });
  assert.equal((await firewall.ensure(RULES)).length, 1);
  refusals.count = 100;
  await assert.rejects(
    firewall.ensure(RULES),
    /^FirewallError: nft failed, nothing was changed.*No such file/,
  );
  refusals.count = 0;
  await firewall.ensure(RULES);
});

test("calls take turns", async () => {
  let running = 0;
  const exec: FirewallExec = {
    async run() {
      assert.equal(running++, 0, "two tools at once");
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      return ok();
    },
  };
  await using firewall = new Firewall({ mode: "nftables", exec, logger: silentLogger });
  await Promise.all([firewall.ensure(RULES), firewall.cleanup({ dryRun: true }), firewall.ensure(RULES)]);
});

test("cleanup continues past a place that fails, and names it", async () => {
  const { exec } = scripted({
    "iptables-legacy": "iptables v1.8.9 (legacy)",
    "iptables-legacy-save": () => ({ code: 3, stdout: "", stderr: "Permission denied (you must be root)" }),
    "ip6tables-legacy-save": "*filter\n:FLANNEL-FWD - [0:0]\nCOMMIT\n",
    "ip6tables-legacy-restore": "",
    nft: "",
  });
  await using firewall = new Firewall({ mode: "nftables", exec, logger: silentLogger });
  const { objects, problems } = await firewall.cleanup({ dryRun: false });
  assert.deepEqual(objects, ["ip6tables-legacy: filter chain FLANNEL-FWD"]);
  assert.equal(problems.length, 1);
  assert.match(problems[0]!, /^iptables-legacy: .*needs root \(CAP_NET_ADMIN\)\. It said: Permission denied/);
});

test("stale rules that cannot be deleted are a warning, and retried", async () => {
  const warnings: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (message) => warnings.push(message) };
  let locked = true;
  const { exec } = scripted({
    nft: "",
    "iptables-legacy": "iptables v1.8.9 (legacy)",
    "iptables-legacy-save": "*filter\n:FLANNEL-FWD - [0:0]\nCOMMIT\n",
    "iptables-legacy-restore": () =>
      locked ? { code: 4, stdout: "", stderr: "Another app is currently holding the xtables lock." } : ok(),
    "ip6tables-legacy-save": "",
  });
  await using firewall = new Firewall({ mode: "nftables", exec, logger });
  await firewall.ensure(RULES);
  assert.match(
    warnings.join(),
    /Failed to delete stale rules in iptables-legacy; retrying at the next check: .*held the xtables lock/,
  );
  locked = false;
  assert.ok((await firewall.ensure(RULES)).includes("filter chain FLANNEL-FWD"));
  assert.ok(!(await firewall.ensure(RULES)).includes("filter chain FLANNEL-FWD"), "done with");
});

test("a tool's message is quoted, with advice", async () => {
  const failing = (code: number, stderr: string): FirewallExec => ({
    run: async () => ({ code, stdout: "", stderr }),
  });
  for (const [code, stderr, expected] of [
    [
      1,
      "Error: Could not process rule: Operation not supported",
      /modprobe nf_tables.*It said: Error: Could not/,
    ],
    [1, "netlink: Error: Operation not permitted", /needs root/],
    [
      1,
      "/dev/stdin:3:5-9: Error: syntax error",
      /^nft failed, nothing was changed\. It said: .dev.stdin:3:5-9/,
    ],
    [2, "", /It said: exit code 2$/],
  ] as const) {
    await assert.rejects(runTool(failing(code, stderr), "nft", []), (error: Error) => {
      assert.ok(hasCode(error, "FIREWALL_REFUSED"));
      assert.match(error.message, expected);
      return true;
    });
  }
  await assert.rejects(
    runTool(failing(4, "line 6: CHAIN_ADD failed (Operation not supported)"), "iptables-restore", []),
    (error) => hasCode(error, "FIREWALL_REFUSED"),
  );
});
