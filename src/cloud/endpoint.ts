/** The URL of an API, from a variable of the environment. */

import { CloudError } from "./cloud.ts";

/**
 * The URL with a slash at its end; `fallback` without the variable. http:// on loopback only: requests have tokens, and answers
 * decide where packets go. Throws CloudError.
 */
export function endpointOf(
  environment: Readonly<Record<string, string | undefined>>,
  variable: string,
  fallback: string,
): string {
  const text = environment[variable]?.trim() || fallback;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isLoopback = url !== undefined && /^(?:127\.[\d.]+|\[::1\]|localhost)$/.test(url.hostname);
  if (url?.protocol !== "https:" && !(url?.protocol === "http:" && isLoopback)) {
    throw new CloudError(
      "REFUSED",
      `${variable} must be an https:// URL such as ${fallback} (http:// on loopback only)`,
    );
  }
  return url.href.endsWith("/") ? url.href : `${url.href}/`;
}
