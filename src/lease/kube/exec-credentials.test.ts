import assert from "node:assert/strict";
import { test } from "node:test";
import { ExecCredentials, readExecSettings } from "./exec-credentials.ts";

test("F24 a plugin gets this process's environment without flanneld's variables, which may be secrets", async (t) => {
  const variables = { FLANNELD_ETCD_PASSWORD: "secret", FLANNELD_PUBLIC_IP: "192.0.2.1", EXEC_TEST: "kept" };
  Object.assign(process.env, variables);
  t.after(() => {
    for (const name of Object.keys(variables)) delete process.env[name];
  });
  const status =
    '"status":{"token":"\'"$EXEC_TEST,$OWN,$FLANNELD_ETCD_PASSWORD,$(env | grep -c ^FLANNELD_)"\'"}';
  const settings = readExecSettings(
    {
      apiVersion: "client.authentication.k8s.io/v1",
      command: "sh",
      args: ["-c", `echo '{"kind":"ExecCredential",${status}}'`],
      env: [{ name: "OWN", value: "own" }],
    },
    {},
    { name: "user u", directory: "/" },
  );
  assert.equal(await new ExecCredentials(settings).authorize(), "Bearer kept,own,,0");
});
