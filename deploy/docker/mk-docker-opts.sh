#!/bin/sh
# Converts flanneld's subnet.env into options of the Docker daemon, written as a file of variables for a systemd unit
# (EnvironmentFile=) or a shell. POSIX sh. Go flannel's script sources the file; this one reads quotes, export, comments and
# carriage returns as a shell does, but checks the values and never evaluates them.

set -eu

usage() {
  cat <<USAGE
$0 [-f FLANNEL-ENV-FILE] [-d DOCKER-ENV-FILE] [-i] [-c] [-m] [-k COMBINED-KEY]

Generate Docker daemon options based on flannel's subnet.env
OPTIONS:
    -f  Path to flannel's file. Defaults to /run/flannel/subnet.env
    -d  Path to the Docker environment file to write. Defaults to /run/docker_opts.env
    -i  Write each Docker option as a variable of its own, e.g. DOCKER_OPT_MTU
    -c  Write the options combined into one variable, DOCKER_OPTS
        Without -i and -c, both are written
    -m  Leave out --ip-masq (useful for Docker before 1.2)
    -k  Name of the combined variable. Defaults to DOCKER_OPTS
    --help  Print this

EXAMPLE, for the EnvironmentFile= of a systemd unit of Docker's:
    $0 -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker
USAGE
}

# As in Go flannel's script, also for -h.
refuse() {
  usage >&2
  exit 1
}

fail() {
  echo "$0: $1" >&2
  exit 1
}

# check NAME PATTERN VALUE: fails unless the extended regular expression matches all of VALUE.
check() {
  printf '%s\n' "$3" | grep -Eqx "$2" || fail "$flannel_env: $1 has an invalid value; is flanneld still writing it?"
}

flannel_env=/run/flannel/subnet.env
docker_env=/run/docker_opts.env
combined_key=DOCKER_OPTS
individual=false
combined=false
ipmasq=true

if [ "${1-}" = --help ]; then
  usage
  exit 0
fi
while getopts f:d:icmk:h option; do
  case $option in
    f) flannel_env=$OPTARG ;;
    d) docker_env=$OPTARG ;;
    i) individual=true ;;
    c) combined=true ;;
    m) ipmasq=false ;;
    k) combined_key=$OPTARG ;;
    *) refuse ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] || refuse
if ! $individual && ! $combined; then
  individual=true
  combined=true
fi
case $combined_key in
  '' | [0-9]* | *[!A-Za-z0-9_]*) fail "-k: '$combined_key' is not the name of a variable" ;;
esac

[ ! -e "$flannel_env" ] || [ -f "$flannel_env" ] || fail "$flannel_env is not a regular file"
[ -f "$flannel_env" ] || fail "$flannel_env does not exist; is flanneld running? (-f names another file)"
[ -r "$flannel_env" ] || fail "$flannel_env cannot be read"

subnet='' mtu='' flannel_masq='' ipv6_subnet=''
carriage_return=$(printf '\r')
tab=$(printf '\t')
byte_order_mark=$(printf '\357\273\277')

# trim TEXT: sets $trimmed to it without blanks around it.
trim() {
  trimmed=$1
  while :; do
    case $trimmed in
      [" $tab$carriage_return"]*) trimmed=${trimmed#?} ;;
      *[" $tab$carriage_return"]) trimmed=${trimmed%?} ;;
      *) return ;;
    esac
  done
}

# unquote WORD: sets $value to the value of an assignment, without quotes, semicolon and comment; as it is if it is neither a
# plain word nor a quoted one.
unquote() {
  trim "$1"
  value=$trimmed
  quote=${trimmed%"${trimmed#?}"}
  case $quote in
    '"' | "'")
      inner=${trimmed#?}
      case $inner in
        *"$quote"*) ;;
        *) return ;;
      esac
      rest=${inner#*"$quote"}
      inner=${inner%%"$quote"*}
      ;;
    *)
      inner=${trimmed%%[" $tab;"]*}
      rest=${trimmed#"$inner"}
      ;;
  esac
  case $rest in
    '' | [" $tab;"]) value=$inner ;;
    [" $tab;"]*)
      trim "${rest#?}"
      case $trimmed in
        '' | '#'*) value=$inner ;;
      esac
      ;;
  esac
}

while IFS= read -r line || [ -n "$line" ]; do
  trim "${line#"$byte_order_mark"}"
  case $trimmed in
    export[" $tab"]*) trim "${trimmed#export}" ;;
  esac
  name=${trimmed%%=*}
  case $name in
    FLANNEL_SUBNET | FLANNEL_IPV6_SUBNET | FLANNEL_MTU | FLANNEL_IPMASQ) ;;
    *) continue ;;
  esac
  [ "$name" != "$trimmed" ] || continue
  unquote "${trimmed#*=}"
  case $name in
    FLANNEL_SUBNET) subnet=$value ;;
    FLANNEL_IPV6_SUBNET) ipv6_subnet=$value ;;
    FLANNEL_MTU) mtu=$value ;;
    FLANNEL_IPMASQ) flannel_masq=$value ;;
  esac
done <"$flannel_env"

# Without IPv4 there is no address for Docker's --bip.
[ -n "$subnet$ipv6_subnet" ] || fail "$flannel_env is missing FLANNEL_SUBNET"
[ -n "$mtu" ] || fail "$flannel_env is missing FLANNEL_MTU"
[ -n "$flannel_masq" ] || fail "$flannel_env is missing FLANNEL_IPMASQ"
[ -z "$subnet" ] || check FLANNEL_SUBNET '([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}' "$subnet"
check FLANNEL_MTU '[0-9]{1,6}' "$mtu"
check FLANNEL_IPMASQ 'true|false' "$flannel_masq"

text='' all=''
newline='
'
# add NAME OPTION
add() {
  all="$all $2"
  if $individual; then text="${text}DOCKER_OPT_$1=\"$2\"$newline"; fi
}

[ -z "$subnet" ] || add BIP "--bip=$subnet"
if $ipmasq; then
  # Only one of flanneld and Docker may masquerade.
  if [ "$flannel_masq" = true ]; then add IPMASQ --ip-masq=false; else add IPMASQ --ip-masq=true; fi
fi
add MTU "--mtu=$mtu"
if $combined; then text="$text$combined_key=\"$all\"$newline"; fi

umask 022
mkdir -p -- "$(dirname -- "$docker_env")"
if [ -L "$docker_env" ] || { [ -e "$docker_env" ] && [ ! -f "$docker_env" ]; }; then
  # Something like /dev/stdout: written to, not replaced.
  printf '%s' "$text" >"$docker_env"
else
  temporary=$docker_env.$$.tmp
  trap 'rm -f -- "$temporary"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '%s' "$text" >"$temporary"
  mv -f -- "$temporary" "$docker_env"
fi
