/**
 * Watches as those of so many flannelds, read and thrown away, in a process of its own: each has one on all nodes and one
 * on its own node.
 * usage: kube-watchers.ts URL CA-FILE TOKEN-FILE COUNT
 */

import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { Agent, get } from "node:https";
import { text } from "node:stream/consumers";
import { peerName } from "./peers.ts";

const [url, caFile, tokenFile, count] = process.argv.slice(2) as [string, string, string, string];
const agent = new Agent({ ca: readFileSync(caFile), maxSockets: Number.POSITIVE_INFINITY });
const headers = { authorization: `Bearer ${readFileSync(tokenFile, "utf8")}` };

const request = (query: string): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    get(`${url}/api/v1/nodes?${query}`, { agent, headers }, (response) => {
      if (response.statusCode === 200) resolve(response);
      else reject(new Error(`${query} was answered with ${response.statusCode}`));
    }).on("error", reject);
  });

process.on("disconnect", () => process.exit());
const { metadata } = JSON.parse(await text(await request("limit=1")));
const watch = `watch=true&resourceVersion=${metadata.resourceVersion}&allowWatchBookmarks=true&timeoutSeconds=3600`;
for (let index = 0; index < Number(count); index++) {
  for (const selector of ["", `&fieldSelector=metadata.name%3D${peerName(index)}`]) {
    (await request(watch + selector)).resume();
  }
}
process.send!("ready");
