/** The OpenAPI 3.1 document of the status API, made of the schemas in api.ts. */

import { ENDPOINTS } from "./api.ts";

const TEXT_PATHS = {
  "/": "The status page for browsers (Accept: text/html); else the paths of this server, as plain text.",
  "/metrics": "Metrics in Prometheus' text format.",
} as const;

/** Served on the unix socket only: it names all hosts, and everything that was done on this one. */
export const RECORDER_PATH = "/v1/recorder";
const RECORDER =
  "What the flight recorder has: a header, one JSON object a line for each entry, and a line with their number and checksum. On the unix socket only.";

const EVENT_PARAMETERS = [
  {
    name: "Last-Event-ID",
    in: "header",
    description:
      "Continue after this event; 0 = with the oldest that is kept. Without it the stream begins with the next event.",
    schema: { type: "string" },
  },
  {
    name: "after",
    in: "query",
    description:
      "As Last-Event-ID, for clients that cannot set headers at first; the header takes precedence.",
    schema: { type: "string" },
  },
  {
    name: "follow",
    in: "query",
    description: "false: end after the events that are kept.",
    schema: { type: "boolean", default: true },
  },
] as const;

const PEER_PARAMETERS = [
  {
    name: "key",
    in: "path",
    required: true,
    description: "The key of the peer's lease, or its subnet; URL-encoded (10.5.2.0%2F24).",
    schema: { type: "string", minLength: 1 },
  },
] as const;

const PARAMETERS: Readonly<Record<string, readonly unknown[]>> = {
  "/v1/events": EVENT_PARAMETERS,
  "/v1/peers/{key}": PEER_PARAMETERS,
  "/v1/routes": [
    {
      ...{
        name: "probes",
        in: "query",
        description: "false: without results of probes, which peers have too.",
      },
      schema: { type: "boolean", default: true },
    },
  ],
  "/v1/probes": [
    {
      ...{ name: "worst", in: "query", description: "Only so many cells, the worst first." },
      schema: { type: "integer", minimum: 1 },
    },
  ],
  "/v1/policies/pod": [
    {
      ...{ name: "pod", in: "query", required: true, schema: { type: "string" } },
      description: "NAMESPACE/NAME, NAME in the namespace default, or an address of the pod.",
    },
  ],
  "/v1/policies/explain": [
    {
      ...{ name: "from", in: "query", required: true, schema: { type: "string" } },
      description: "A pod as in /v1/policies/pod, or any address.",
    },
    {
      ...{ name: "to", in: "query", required: true, schema: { type: "string" } },
      description: "A pod, or any address.",
    },
    {
      ...{ name: "port", in: "query", required: true, schema: { type: "string" } },
      description: "80, 53/udp, or the name of a port of the pod in `to`.",
    },
  ],
  "/v1/path": [
    {
      ...{ name: "to", in: "query", required: true, schema: { type: "string" } },
      description: "The key of a peer's lease, one of its subnets, or an address in one.",
    },
  ],
};

/** The document; `version` is flanneld's. `hasRecorder`: of the unix socket. */
export function openApiDocument(version: string, { hasRecorder = false } = {}): unknown {
  const paths: Record<string, unknown> = {};
  const schemas: Record<string, unknown> = {};
  for (const [path, { name, schema }] of Object.entries(ENDPOINTS)) {
    schemas[name] = schema.json;
    const reference = { $ref: `#/components/schemas/${name}` };
    const isStream = path === "/v1/events";
    const content = isStream
      ? { "text/event-stream": { schema: { type: "string" }, "x-event-data": reference } }
      : { "application/json": { schema: reference } };
    paths[path] = operation(
      isStream ? "Server-sent events; the data of each is an Event." : schema.json.description,
      content,
      PARAMETERS[path],
    );
  }
  for (const [path, description] of Object.entries(TEXT_PATHS))
    paths[path] = operation(description, {
      "text/plain": { schema: { type: "string" } },
      ...(path === "/" ? { "text/html": { schema: { type: "string" } } } : {}),
    });
  if (hasRecorder)
    paths[RECORDER_PATH] = operation(RECORDER, { "application/x-ndjson": { schema: { type: "string" } } });
  return {
    openapi: "3.1.0",
    info: { title: "flanneld status API", version, description: "Read-only." },
    paths,
    components: { schemas },
  };
}

const operation = (description: string, content: unknown, parameters: readonly unknown[] = []) => ({
  get: {
    summary: description,
    parameters,
    responses: {
      200: { description, content },
      400: { description: "Malformed request." },
      401: { description: "The token is missing or wrong, where one is needed." },
      403: {
        description:
          "The Host or Origin header names another host, or the answer is for clients on this host.",
      },
      404: { description: "Nothing by this name." },
      503: { description: "Not known yet, or too many event streams." },
    },
  },
});
