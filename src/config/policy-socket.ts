/** Where the CNI plugin asks flanneld for the policies of a starting pod: both find the socket by the subnet file. */

/** `policy.sock` beside `subnet.env`, and `NAME-policy.sock` beside `NAME.env`: one for each flanneld of a host. */
export function policySocketOf(subnetFile: string): string {
  const end = subnetFile.lastIndexOf("/") + 1;
  const name = subnetFile.slice(end).replace(/(?<=.)\.[^.]*$/, "");
  return `${subnetFile.slice(0, end)}${name === "subnet" ? "policy.sock" : `${name}-policy.sock`}`;
}
