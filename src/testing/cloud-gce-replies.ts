/** Labels of requests to the fake of the Compute Engine API, and its refusals, in the form of https://cloud.google.com/apis/design/errors#http_mapping */

import type { FakeReply, FakeRequest } from "./cloud-http.ts";

/** The stored form of links, whatever host a request named. */
export const LINKS = "https://www.googleapis.com/compute/v1/";

export const failure = (code: number, reason: string, message: string, more: object = {}): FakeReply => ({
  status: code,
  body: { error: { code, message, errors: [{ message, domain: "global", reason }], ...more } },
});

export const notFound = (path: string): FakeReply =>
  failure(404, "notFound", `The resource '${path}' was not found`);

export const scopeFailure = (): FakeReply =>
  failure(403, "insufficientPermissions", "Request had insufficient authentication scopes.", {
    status: "PERMISSION_DENIED",
    details: [
      {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        reason: "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        domain: "googleapis.com",
      },
    ],
  });

/** "GET routes", "POST operations", "GET instances". */
export function labelOf({ method, path }: FakeRequest): string {
  const kind = /(routes|operations|instances)/.exec(path)?.[1] ?? path;
  return `${method} ${kind}${kind === "routes" && !path.endsWith("/routes") && method === "GET" ? "/one" : ""}`;
}
