/** flanneld in its image. */

import { preferHostIptables } from "./image-path.ts";

void preferHostIptables().then(() => import("./flanneld.ts"));
