/**
 * Sends the status page: one file that scripts/build.ts makes of page/. It is read when it is first requested. Its
 * Content-Security-Policy (W3C CSP3) allows its own script and style by their hashes, and connections to this server only.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { hasCode } from "../base/error.ts";
import { send } from "./bounded-server.ts";

/** Beside the bundle, or where the build puts it. */
const PLACES = ["status-page.html", "../../dist/status-page.html"];

interface Page {
  readonly text: string;
  readonly policy: string;
}

let page: Page | undefined;

/** Returns false, having sent nothing, if the client does not want HTML, or if the page was not built. */
export function sendPage(request: IncomingMessage, response: ServerResponse): boolean {
  if (!/\btext\/html\b/i.test(request.headers.accept ?? "")) return false;
  page ??= readPage();
  if (page === undefined) return false;
  response.setHeader("Content-Security-Policy", page.policy);
  response.setHeader("Referrer-Policy", "no-referrer");
  send(response, 200, page.text, "text/html");
  return true;
}

function readPage(): Page | undefined {
  for (const place of PLACES) {
    try {
      const text = readFileSync(join(import.meta.dirname, place), "utf8");
      return { text, policy: policyOf(text) };
    } catch (error) {
      if (!hasCode(error, "ENOENT")) throw error;
    }
  }
  return undefined;
}

function policyOf(text: string): string {
  const hashes = (tag: string): string =>
    [...text.matchAll(new RegExp(`<${tag}>(.*?)</${tag}>`, "gs"))]
      .map(([, content]) => `'sha256-${createHash("sha256").update(content!).digest("base64")}'`)
      .join(" ");
  return [
    "default-src 'none'",
    `script-src ${hashes("script")}`,
    `style-src ${hashes("style")}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}
