/** A status server with made-up answers, and requests to it. */

import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import type { PathReport, PeerDetail, RouteReport, Status } from "../../src/status/api.ts";
import { listen } from "../../src/status/bounded-server.ts";
import { EventLog } from "../../src/status/event-log.ts";
import { single } from "../../src/status/metrics-text.ts";
import { StatusServer } from "../../src/status/status-server.ts";
import type { StatusSource } from "../../src/status/status-source.ts";

const STATUS: Status = {
  ...{ version: "v1", host: "h", startedAt: "2026-01-01T00:00:00.000Z", isReady: false },
  ...{ notReadyReasons: ["lease: no lease yet"], notes: [], datastore: "etcd key /x", networks: [] },
  ...{ peers: 0, peerProblems: 0, kernel: { objects: 0, failures: 0, passes: 0, repairs: 0 } },
};

export const route = (number: number): RouteReport => ({
  subnet: `10.${number >> 8}.${number & 255}.0/24`,
  ...{ peer: `10.${number >> 8}.${number & 255}.0-24`, publicIp: "192.168.7.2", backend: "vxlan" },
  ...{ via: `10.${number >> 8}.${number & 255}.0`, device: "flannel.1", state: "programmed" },
});

const DETAIL: PeerDetail = {
  ...{ key: "10.5.2.0-24", subnets: ["10.5.2.0/24"], publicIps: ["192.168.7.2"], backend: "vxlan" },
  routes: [route(1)],
  objects: [{ kind: "route", object: "route 10.5.2.0/24", state: "programmed" }],
};

const PATH: PathReport = {
  peer: "10.5.2.0-24",
  externalInterface: { name: "eth0", mtuBytes: 1500, addresses: ["192.168.7.1"] },
  ways: [
    {
      ...{ from: "10.5.1.0/24", to: "10.5.2.0/24", publicIp: "192.168.7.2" },
      objects: [{ kind: "route", what: "route 10.5.2.0/24", state: "missing" }],
    },
  ],
};

export const startStatusServer = (changes: Partial<StatusSource> = {}, recording?: () => Iterable<string>) =>
  StatusServer.start(
    {
      version: "v1",
      events: new EventLog("run"),
      status: () => STATUS,
      lease: () => undefined,
      routes: () => [route(1)],
      peers: () => [{ key: "k\u202e", subnets: ["10.5.2.0/24"], publicIps: [], backend: "" }],
      peer: (name) => (name === DETAIL.key || name === DETAIL.subnets[0] ? DETAIL : "absent"),
      path: (to) => (to === "10.5.2.7" ? PATH : "absent"),
      plan: () => [{ action: "create", kind: "route", object: "route 10.5.2.0/24", reason: undefined }],
      drift: () => ({
        counts: { route: 1 },
        entries: [{ at: "2026-01-01T00:00:00.000Z", kind: "route", what: "route", tookMs: 1, by: undefined }],
      }),
      metrics: () => [single("gauge", "flannel_ready", "Ready.", 1)],
      ...changes,
    },
    (server) => listen(server, { host: "0.0.0.0", port: 0 }),
    { recording },
  );

export interface Question {
  readonly headers?: Record<string, string>;
  readonly method?: string;
  readonly from?: string;
}

/** Not fetch(), which normalizes the path and forbids the Host header. */
export async function open({ port }: StatusServer, path: string, { from, ...rest }: Question = {}) {
  const options = {
    host: "127.0.0.1",
    port,
    path,
    agent: false,
    ...(from && { localAddress: from }),
    ...rest,
  };
  const sent = request(options).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return response;
}

export async function get(server: StatusServer, path: string, question?: Question) {
  const response = await open(server, path, question);
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}
