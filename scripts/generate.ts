/**
 * Generates the TypeScript for the .proto files: `npm run generate`. The result (*_pb.ts) is committed, so that neither
 * building nor testing needs the generator.
 */

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const protoFolders = ["src/etcd-api"];

for (const folder of protoFolders) {
  const template = {
    version: "v2",
    plugins: [
      {
        local: `${root}node_modules/.bin/protoc-gen-es`,
        out: ".",
        opt: ["target=ts", "import_extension=ts", "erasable_syntax=true"],
      },
    ],
  };
  execFileSync(`${root}node_modules/.bin/buf`, ["generate", ".", "--template", JSON.stringify(template)], {
    cwd: `${root}${folder}`,
    stdio: "inherit",
  });
}
