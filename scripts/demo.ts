/**
 * `make demo`: a lab of three hosts, every way in it pinged, left running until Ctrl-C or SIGTERM, then removed.
 * It types what a user would type.
 * usage: demo.ts [name of the lab] [flags of "lab up", as --kube or --dual-stack]
 */

import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const flannelctl = fileURLToPath(new URL("../bin/flannelctl", import.meta.url));
const words = process.argv.slice(2);
const [name, flags] = words[0]?.startsWith("-") ? ["demo", words] : [words[0] ?? "demo", words.slice(1)];

const TRY = `
It runs until Ctrl-C. Try in another terminal:
  bin/flannelctl lab exec h1 -- ip route                  # a route to every other host
  bin/flannelctl lab exec h1 -- ip route flush proto 70   # repaired at once: look at the routes again
  bin/flannelctl lab exec h1 --container -- sh            # a shell in the container
  bin/flannelctl lab add-host                             # one more, while the others keep running
  bin/flannelctl lab status
  bin/flannelctl lab ping`;
const TRY_KUBE = `
  bin/flannelctl lab exec hub -- kubectl --kubeconfig /run/flannel-lab/${name}/kubeconfig get nodes -o wide`;

let running: ChildProcess | undefined;
let isStopping = false;
const stopped = new Promise<void>((resolve) => {
  const keepAlive = setInterval(() => {}, 2 ** 30);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      isStopping = true;
      clearInterval(keepAlive);
      running?.kill("SIGTERM"); // after Ctrl-C it has had the terminal's SIGINT: a second signal does no harm
      resolve();
    });
  }
});

let exitCode = await lab("down"); // what an earlier demo has left behind
if (exitCode !== 0) process.exit(exitCode);
try {
  exitCode = await demonstrate();
} finally {
  console.log("\n==> removing the demo");
  exitCode = (await lab("down")) || exitCode;
}
process.exit(exitCode);

async function demonstrate(): Promise<number> {
  console.log("==> the hosts, each with flanneld and a container");
  const upCode = await lab("up", "--hosts=3", "--hints=false", ...flags);
  if (upCode !== 0 || isStopping) return upCode;
  console.log("\n==> every container and every host pings every container");
  const pingCode = await lab("ping");
  if (isStopping) return 0;
  console.log(flags.includes("--kube") ? TRY + TRY_KUBE : TRY);
  await stopped;
  return pingCode;
}

/** Runs `flannelctl lab …` to its end. What removes the lab is quiet, and out of reach of the terminal's Ctrl-C. */
async function lab(command: "up" | "ping" | "down", ...flags: string[]): Promise<number> {
  const isDown = command === "down";
  const child = spawn(flannelctl, ["lab", command, `--name=${name}`, ...flags], {
    stdio: ["ignore", isDown ? "ignore" : "inherit", "inherit"],
    detached: isDown,
  });
  if (!isDown) running = child;
  const code = await new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (status) => resolve(status ?? 1));
  });
  running = undefined;
  return code;
}
