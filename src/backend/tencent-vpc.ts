/**
 * The tencent-vpc backend: route tables of the Tencent Cloud VPC lead each host's subnet to the host's instance. Reads `AccessKeyID` and
 * `AccessKeySecret`, as Go flannel, and `RouteTableID`, a string or a list, as aws-vpc; without it the table of the host's subnet counts.
 */

import { keyedCloud } from "./cloud-routes.ts";

/** The module of the type `tencent-vpc`. */
export const tencentVpc = keyedCloud("tencent-vpc", "rtb-n0yejvje");
