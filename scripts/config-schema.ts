/** Writes deploy/config/flanneld.schema.json from the table of flags: `npm run generate`. A unit test says when it is due. */

import { writeFileSync } from "node:fs";
import { configSchema } from "../src/config/config-schema.ts";

const path = new URL("../deploy/config/flanneld.schema.json", import.meta.url);
writeFileSync(path, `${JSON.stringify(configSchema(), undefined, 2)}\n`);
