/** Makes one call of the EC2 API of a lab, as its operator: `node ec2-call.ts URL ACTION '{"RouteTableId":"rtb-…"}'`. */

import { callEc2, type Ec2Parameters } from "../../src/cloud/aws/ec2-api.ts";
import { createDirectHttp } from "../../src/cloud/http.ts";
import { LAB_ACCESS_KEY } from "../../src/lab/clusters/aws-vpc.ts";

const [url, action, parameters] = process.argv.slice(2) as [string, string, string];
const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey } = LAB_ACCESS_KEY;
await callEc2(
  {
    ...{ endpoint: new URL(url), region: "eu-central-1", send: createDirectHttp(), wallClockMs: Date.now },
    credentials: { get: async () => ({ accessKeyId, secretAccessKey }), forget() {} },
  },
  action,
  JSON.parse(parameters) as Ec2Parameters,
  AbortSignal.timeout(10_000),
);
