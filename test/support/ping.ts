/** Pings (iputils) from a network namespace: some that must come back, or one every 10 ms until stopped. */

import { exec } from "../../src/linux/exec.ts";
import { TestProcess } from "./process.ts";
import { until } from "./until.ts";

/** Sends `count` packets; how many came back. */
export async function ping(
  netns: string,
  address: string,
  { count = 5, args = [] }: { readonly count?: number; readonly args?: readonly string[] } = {},
): Promise<number> {
  const { stdout } = await exec(
    "sh", // ping's exit code is 1 when nothing came back
    [
      "-c",
      '"$@" || [ $? = 1 ]',
      "sh",
      "ping",
      "-n",
      "-i",
      "0.01",
      "-W",
      "1",
      "-c",
      String(count),
      ...args,
      address,
    ],
    { netns },
  );
  return Number(/(\d+) received/.exec(stdout)![1]);
}

/** Echo requests that a namespace has received so far; `text`: its /proc/net/snmp. */
export function echoRequestsIn(text: string): number {
  const [names, values] = [...text.matchAll(/^Icmp: (.*)$/gm)].map((match) => match[1]!.split(" "));
  return Number(values![names!.indexOf("InEchos")]);
}

/** A ping every 10 ms. */
export class PingStream implements AsyncDisposable {
  readonly #process: TestProcess;

  constructor(netns: string, address: string) {
    this.#process = new TestProcess("ping", ["-n", "-i", "0.01", address], { netns });
  }

  /** Sequence numbers of the answers so far, in the order that they came. */
  get answers(): number[] {
    return [...this.#process.stdout.matchAll(/icmp_seq=(\d+) ttl/g)].map((match) => Number(match[1]));
  }

  /** The longest round trip so far, in ms. */
  get longestMs(): number {
    return Math.max(
      0,
      ...[...this.#process.stdout.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1])),
    );
  }

  /** Waits for so many more answers. */
  async more(count: number): Promise<void> {
    const wanted = this.answers.length + count;
    await until(() => this.answers.length >= wanted, `${count} more answers to pings`);
  }

  /** Ends it; how many requests it sent, answered or not. */
  async countSent(): Promise<number> {
    await this.#process.stop("SIGINT");
    return Number(/(\d+) packets transmitted/.exec(this.#process.stdout)![1]);
  }

  /** Ends it. The sequence numbers that are missing below the last one that came, and those that came twice. */
  async stop(): Promise<{ readonly sent: number; readonly lost: number[]; readonly repeated: number[] }> {
    await this.#process.stop("SIGINT");
    const { answers } = this;
    const seen = new Set(answers);
    const sent = Math.max(0, ...answers);
    const lost = Array.from({ length: sent }, (_, index) => index + 1).filter((number) => !seen.has(number));
    return { sent, lost, repeated: answers.filter((number, index) => answers.indexOf(number) !== index) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}
