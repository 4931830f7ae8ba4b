/**
 * The ali-vpc backend: route tables of the Alibaba Cloud VPC lead each host's subnet to the host's instance. Reads `AccessKeyID` and
 * `AccessKeySecret`, as Go flannel, and `RouteTableID`, a string or a list, as aws-vpc; without it the table of the host's vSwitch counts.
 */

import { keyedCloud } from "./cloud-routes.ts";

/** The module of the type `ali-vpc`. */
export const aliVpc = keyedCloud("ali-vpc", "vtb-bp145q7glnuzdv");
