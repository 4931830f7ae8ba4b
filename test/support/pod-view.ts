/** A process as a pod's: the service account is where kubelet puts it. */

/** A mount namespace with a /run of its own. $1: the directory with the account's files; then the command. */
const ENTER = `
  account=$1; shift
  mount -t tmpfs tmpfs /run
  mkdir -p /run/secrets/kubernetes.io
  ln -s "$account" /run/secrets/kubernetes.io/serviceaccount
  exec "$@"`;

/** The command that goes before another's, with the directory that holds ca.crt and token. */
export const withServiceAccount = (directory: string): string[] => [
  "unshare",
  "--mount",
  "sh",
  "-c",
  ENTER,
  "sh",
  directory,
];
