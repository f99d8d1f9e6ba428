#!/bin/sh
# Installs with apt what is missing for building, testing or the demo, and says what and why.
#
#   tools/setup.sh [--check] GROUP...      GROUP: build, test, demo
#
# --check only names what is missing (exit status 1 when something is). Debian 12; as root, or
# through sudo. Quick when all is there: one question to dpkg.
set -u

check=no
groups=
for word in "$@"; do
    case $word in
    --check) check=yes ;;
    build | test | demo) groups="$groups $word" ;;
    *)
        echo "usage: tools/setup.sh [--check] build|test|demo ..." >&2
        exit 2
        ;;
    esac
done
[ -n "$groups" ] || groups=" build"

# group, package, why
packages() {
    cat <<'LIST'
build gcc                    the C11 compiler, with its sanitizers
build libc6-dev              the C library's headers
build make                   runs the Makefile
build binutils               ar, nm, objdump
build pkg-config             finds the libraries
build protobuf-c-compiler    generates the messages
build libprotobuf-c-dev      messages and commands
build libisal-dev            Reed-Solomon and CRC32C
build libssl-dev             digests, HMAC, sealed secrets
build libmicrohttpd-dev      the HTTP edge
build libleveldb-dev         the ordered key-value store
build libexpat1-dev          reads XML
build libjansson-dev         JSON output
build libinih-dev            configuration files
build libxxhash-dev          chunk to placement group
test  libcunit1-dev          unit suites
test  clang-format           formatting check of make lint
test  python3                make lint and the cluster tests
test  awscli                 S3 client under test
test  s3cmd                  S3 client under test
test  rclone                 S3 client under test
test  python3-boto3          S3 client under test
test  curl                   raw requests in the tests
test  util-linux             setarch for TSan; namespaces for hosts on one machine
test  iproute2               networks between these hosts
test  iptables               partitions between them
test  mount                  small file systems that fill up
test  e2fsprogs              ext4 for these
test  xfsprogs               xfs for these
demo  awscli                 the S3 client of the demo
demo  curl                   raw requests in the demo
demo  python3                the demo's bookkeeping
LIST
}

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "setup: no dpkg on this machine; needed are the equivalents of:"
    packages | while read -r group name why; do
        case "$groups " in *" $group "*) echo "  $name ($why)" ;; esac
    done
    [ "$check" = yes ] || exit 1
    exit 0
fi

wanted=$(packages | while read -r group name why; do
    case "$groups " in *" $group "*) echo "$name" ;; esac
done | sort -u)
# shellcheck disable=SC2086
installed=$(dpkg-query -W -f '${Status} ${Package}\n' $wanted 2>/dev/null |
    sed -n 's/^[a-z]* ok installed //p')
missing=
for name in $wanted; do
    case "
$installed
" in
    *"
$name
"*) ;;
    *) missing="$missing $name" ;;
    esac
done
[ -n "$missing" ] || exit 0

echo "setup: missing packages:"
for name in $missing; do
    echo "  $name: $(packages | awk -v n="$name" \
        '$2 == n { $1 = $2 = ""; sub(/^ +/, ""); print; exit }')"
done
if [ "$check" = yes ]; then
    echo "install them with: tools/setup.sh$groups"
    exit 1
fi

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "setup: neither root nor sudo; as root run: apt-get install$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 "$@" \
        >"$log" 2>&1 && return 0
    tail -n 20 "$log" >&2
    return 1
}
echo "setup: installing them with apt"
apt update || echo "setup: apt-get update failed, trying with the lists that are here" >&2
# shellcheck disable=SC2086
if ! apt install --no-install-recommends $missing; then
    echo "setup: apt-get install failed:$missing" >&2
    exit 1
fi
