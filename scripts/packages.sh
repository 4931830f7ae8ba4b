#!/bin/sh
# Installs the Debian packages that a make target needs and this machine lacks: with root and apt, else names them.
# usage: packages.sh demo|test|bench|fuzz|image|engine|engine-cross|release [flags of the demo]
set -eu

case ${1:-} in
  demo)
    want="ip:iproute2 nft:nftables iptables:iptables ping:iputils-ping"
    case " $* " in *" --etcd "*) want="$want etcd:etcd-server" ;; esac
    case " $* " in *" --kube "*) want="$want openssl:openssl /usr/lib/cni/bridge:containernetworking-plugins" ;; esac
    ;;
  fuzz | release)
    want="python3:python3"
    if [ "$1" = release ]; then want="$want eu-strip:elfutils xz:xz-utils"; fi
    python3 -c 'import ensurepip' 2>/dev/null || want="$want none:python3-venv"
    ;;
  # Rust of Debian 12 itself is too old; these are what its browsers are built with.
  engine) want="cargo:cargo-web rustc:rustc-web cc:gcc cc:libc6-dev" ;;
  # The engine for the other architecture.
  engine-cross)
    case $(uname -m) in
      aarch64) other=x86_64-linux-gnu cross="gcc-x86-64-linux-gnu none:libc6-dev-amd64-cross" ;;
      *) other=aarch64-linux-gnu cross="gcc-aarch64-linux-gnu none:libc6-dev-arm64-cross" ;;
    esac
    want="/usr/bin/cargo:cargo-web /usr/bin/rustc:rustc-web"
    [ -e /usr/$other/lib/libc.a ] && command -v $other-gcc >/dev/null 2>&1 || want="$want none:$cross"
    ;;
  image) want="patchelf:patchelf eu-strip:elfutils" ;;
  test | bench) want="ip:iproute2 nft:nftables iptables:iptables ping:iputils-ping nsenter:util-linux etcd:etcd-server etcdctl:etcd-client
    openssl:openssl shellcheck:shellcheck busybox:busybox-static dockerd:docker.io docker:docker.io containerd:containerd ctr:containerd setpriv:util-linux unshare:util-linux ethtool:ethtool tcpdump:tcpdump conntrack:conntrack dash:dash kubectl:kubernetes-client patchelf:patchelf
    eu-strip:elfutils systemd-analyze:systemd /usr/lib/cni/bridge:containernetworking-plugins
    zsh:zsh fish:fish mandoc:mandoc wg:wireguard-tools wireguard-go:wireguard-go /usr/lib/ipsec/charon:strongswan-charon pt-tls-client:libcharon-extra-plugins promtool:prometheus mmdebstrap:mmdebstrap chromium:chromium qemu-system-x86_64:qemu-system-x86"
    # A plugin is no command.
    [ -e /usr/lib/ipsec/plugins/libstrongswan-openssl.so ] || want="$want none:libstrongswan-standard-plugins"
    # The kernel of the virtual machine.
    for kernel in /boot/vmlinuz-*-cloud-amd64; do [ -e "$kernel" ] || want="$want none:linux-image-cloud-amd64"; done
    # The yardsticks of the udp backend are compiled on the spot.
    if [ "$1" = bench ]; then want="$want iperf3:iperf3 cc:gcc cc:libc6-dev"; fi ;;
  *)
    echo "usage: packages.sh demo|test|bench|fuzz|image|engine|engine-cross|release [flags of the demo]" >&2
    exit 2
    ;;
esac

PATH=$PATH:/usr/sbin:/sbin
missing=
for pair in $want; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "These Debian packages are missing:$missing" >&2
  echo "Install them (as root: apt-get install$missing) and run make again." >&2
  exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "==> installing Debian packages:$missing"
# policy-rc.d: a package that brings a service must not start it; tests and demo start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$log" "$policy"' EXIT
fi
# shellcheck disable=SC2086 # a list of names
if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "apt-get could not install:$missing" >&2
  exit 1
fi
