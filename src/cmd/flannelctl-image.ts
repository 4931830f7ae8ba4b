/** flannelctl in the image. */

import { preferHostIptables } from "./image-path.ts";

void preferHostIptables().then(() => import("./flannelctl.ts"));
