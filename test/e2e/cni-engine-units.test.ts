/** The plugin's unit tests again, with the executable that runs on nodes in the place of the functions in this process. */

import { CNI_EXECUTABLE } from "../support/cni-programs.ts";

process.env.FLANNEL_TEST_CNI_PLUGIN = CNI_EXECUTABLE;
await import("../../src/cni/cni-plugin.test.ts");
await import("../../src/cni/delete-stored.test.ts");
await import("../../src/cni/pod-policy.test.ts");
