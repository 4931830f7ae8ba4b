/**
 * Calls to EC2's query API: a signed POST of a form (Signature Version 4, by aws4), and XML back.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html
 */

import aws4 from "aws4";
import { hasCode } from "../../base/error.ts";
import { type HttpSend, notUnderstood } from "../http.ts";
import { awsError } from "./aws-error.ts";
import type { CredentialChain } from "./credentials.ts";
import { readXml, textOf, type XmlElement } from "./xml.ts";

const API_VERSION = "2016-11-15";

/** What calls need. */
export interface Ec2Ports {
  readonly endpoint: URL;
  readonly region: string;
  readonly send: HttpSend;
  readonly credentials: Pick<CredentialChain, "get" | "forget">;
  readonly wallClockMs: () => number;
}

/** Parameters of a call: names as EC2's, numbered lists as arrays. */
export type Ec2Parameters = Readonly<Record<string, string | readonly string[]>>;

/** Makes one call; the root element of the answer. Throws CloudError. */
export async function callEc2(
  { endpoint, region, send, credentials, wallClockMs }: Ec2Ports,
  action: string,
  parameters: Ec2Parameters,
  signal: AbortSignal,
): Promise<XmlElement> {
  const body = formOf(action, parameters);
  const { accessKeyId, secretAccessKey, sessionToken } = await credentials.get(signal);
  const { headers } = aws4.sign(
    {
      ...{ service: "ec2", region, method: "POST", path: `${endpoint.pathname}${endpoint.search}`, body },
      headers: {
        Host: endpoint.host,
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        "X-Amz-Date": new Date(wallClockMs()).toISOString().replace(/[-:]|\.\d+/g, ""),
      },
    },
    { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) },
  );
  const answer = await send({
    ...{ method: "POST", url: endpoint, body, signal },
    headers: Object.fromEntries(Object.entries(headers!).map(([name, value]) => [name, String(value)])),
  });
  const root = readXml(answer.body);
  const code = textOf(root, "Errors", "Error", "Code") ?? textOf(root, "Error", "Code");
  if (code !== undefined) {
    const message =
      textOf(root, "Errors", "Error", "Message") ?? textOf(root, "Error", "Message") ?? "no message";
    const error = awsError(action, code, message, answer, wallClockMs());
    if (hasCode(error, "CREDENTIALS")) credentials.forget();
    throw error;
  }
  if (root?.name !== `${action}Response`) throw notUnderstood(endpoint, answer, "XML");
  return root;
}

function formOf(action: string, parameters: Ec2Parameters): string {
  const form = new URLSearchParams({ Action: action, Version: API_VERSION });
  for (const [name, value] of Object.entries(parameters)) {
    if (typeof value === "string") form.set(name, value);
    else for (const [index, each] of value.entries()) form.set(`${name}.${index + 1}`, each);
  }
  return form.toString();
}
