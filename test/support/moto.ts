/**
 * moto (PyPI), which imitates EC2 and the instance metadata service: one server for all instances of a test, and for each host a
 * metadata service of its own, which is moto's but for the id of the instance: moto knows one instance only, "i-fake".
 */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { callEc2, type Ec2Parameters } from "../../src/cloud/aws/ec2-api.ts";
import { textOf, type XmlElement } from "../../src/cloud/aws/xml.ts";
import { createDirectHttp } from "../../src/cloud/http.ts";
import { until } from "./until.ts";

const SERVER = fileURLToPath(new URL("../../node_modules/.cache/moto/bin/moto_server", import.meta.url));

export interface Moto {
  /** On the loopback. */
  readonly port: number;
  /** Calls EC2 as an operator. */
  call(action: string, parameters: Ec2Parameters): Promise<XmlElement>;
  /** Starts the metadata service of an instance, on the loopback; its port. */
  metadataOf(instanceId: string): Promise<number>;
}

/** Starts moto; it ends with the test. */
export async function startMoto(t: TestContext): Promise<Moto> {
  if (!existsSync(SERVER)) throw new Error("moto is not installed: make node_modules/.cache/moto/.installed");
  // Its own name for "any free port"; what it took is in its first lines.
  const child = spawn(SERVER, ["-H", "127.0.0.1", "-p", "0"], { stdio: ["ignore", "pipe", "pipe"] });
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => lines.push(line));
  endWith(t, child);
  const find = (): string | undefined => /Running on http:\/\/127\.0\.0\.1:(\d+)/.exec(lines.join("\n"))?.[1];
  await until(() => find() !== undefined, "moto", 60_000).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${lines.join("\n")}`);
  });
  const port = Number(find());
  const http = createDirectHttp();
  return {
    port,
    call: (action, parameters) =>
      callEc2(
        {
          ...{ endpoint: new URL(`http://127.0.0.1:${port}`), region: "us-east-1", send: http },
          credentials: {
            get: async () => ({ accessKeyId: "operator", secretAccessKey: "any" }),
            forget() {},
          },
          wallClockMs: Date.now,
        },
        action,
        parameters,
        AbortSignal.timeout(30_000),
      ),
    metadataOf: (instanceId) => serveMetadata(t, port, instanceId),
  };
}

async function serveMetadata(t: TestContext, motoPort: number, instanceId: string): Promise<number> {
  const server = createServer((request, response) => {
    if (request.url === "/latest/meta-data/instance-id") {
      response.end(instanceId);
      return;
    }
    const { url: path, method, headers } = request;
    const to = httpRequest({ host: "127.0.0.1", port: motoPort, path, method, headers }, (answer) => {
      response.writeHead(answer.statusCode!, { "content-type": "text/plain" });
      answer.pipe(response);
    });
    to.on("error", () => response.destroy());
    request.pipe(to);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function endWith(t: TestContext, child: ChildProcess): void {
  const end = (): void => void child.kill("SIGKILL");
  process.once("exit", end);
  t.after(() => {
    process.removeListener("exit", end);
    end();
  });
}

/** The text of an element of an answer, which has to be there. */
export function fieldOf(root: XmlElement, ...path: readonly string[]): string {
  const text = textOf(root, ...path);
  if (text === undefined) throw new Error(`no ${path.join("/")} in ${root.name}`);
  return text;
}
