/** The environment of a process that uses a cloud, without secrets for the programs that it starts. */

/** Programs that flanneld starts (sh, nft, iptables) inherit its environment, and need none of these. */
const SECRETS = ["ACCESS_KEY_SECRET", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/** A copy of the environment as it is; the secrets are no longer in the environment itself. */
export function takeEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const copy = { ...environment };
  for (const name of SECRETS) delete environment[name];
  return copy;
}
