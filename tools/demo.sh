#!/bin/bash
# The main job, end to end: a cluster of real processes on this machine takes files from an ordinary
# S3 client, loses two disks while they are being read, gives every byte back, rebuilds what was lost,
# proves it, and loses its metadata leader without losing a write. Exit status 0 only if all of it held.
#
# `make demo` installs and builds first. CAIRN_DEMO_KEEP=1 leaves the directory behind.
set -u
cd "${BASH_SOURCE[0]%/*}/.." || exit 1
CAIRN=$PWD/build/release/cairn
WORK=$(mktemp -d "${TMPDIR:-/tmp}/cairn-demo-XXXXXX")
CLUSTER=$WORK/cluster FILES=$WORK/files
BIG_MIB=200 FILES_MAX=250
began=$SECONDS
loop=

say() { printf '\n[%3d s] %s\n' $((SECONDS - began)) "$*"; }
fail() {
    printf '\nDEMO FAILED after %d s: %s\n' $((SECONDS - began)) "$*" >&2
    if [ -d "$CLUSTER/log" ]; then
        grep -hE ' (WARN|ERROR) ' "$CLUSTER"/log/*.log 2>/dev/null | tail -n 20 >&2
    fi
    exit 1
}
finish() {
    touch "$WORK/stop"
    [ -z "$loop" ] || wait "$loop" 2>/dev/null
    "$CAIRN" dev down --dir "$CLUSTER" >/dev/null 2>&1
    if [ -n "${CAIRN_DEMO_KEEP:-}" ]; then
        echo "left behind: $WORK"
    else
        rm -rf "$WORK"
    fi
}
trap finish EXIT
trap 'exit 1' INT TERM

s3() { aws --endpoint-url "$AWS_ENDPOINT_URL" s3 "$@"; }
# A value of a verb's JSON: json 'EXPRESSION of v' VERB...
json() {
    local expression=$1
    shift
    "$CAIRN" "$@" --json | python3 -c "import json, sys; v = json.load(sys.stdin); print($expression)"
}

# ---- files: this checkout and what was built from it, and one large file ----
say "Gathering files"
mkdir -p "$FILES"
find README.md docs common gateway metadata chunkserver placement erasure tools tests build/release \
    -type f -size -40M 2>/dev/null | grep -v '\.d$' | LC_ALL=C sort | awk -v most=$FILES_MAX '
    { all[NR] = $0 }
    END { step = NR > most ? NR / most : 1; for (i = 1; i <= NR; i += step) print all[int(i)] }' |
    while read -r path; do
        mkdir -p "$FILES/${path%/*}" && cp "$path" "$FILES/$path"
    done
head -c $((BIG_MIB << 20)) /dev/urandom >"$FILES/large.bin"
cp "$CAIRN" "$FILES/cairn"
tar cf "$FILES/build.tar" build/release
(cd "$FILES" && find . -type f -printf '%P\n' | LC_ALL=C sort) >"$WORK/list"
count=$(wc -l <"$WORK/list")
size=$(du -sm "$FILES" | cut -f1)
echo "$count files, $size MiB"

# ---- cluster ----
say "Starting 3 metadata servers, 8 chunkservers with one disk each, and a gateway"
"$CAIRN" dev up --dir "$CLUSTER" --metadata 3 --disks 8 --pool 4+2 --s3-port 0 ||
    fail "the cluster did not become healthy"
set -a
# shellcheck disable=SC1091
. "$CLUSTER/credentials.env"
CAIRN_CONFIG=$CLUSTER/cairn.conf
AWS_EC2_METADATA_DISABLED=true
set +a
"$CAIRN" status || fail "cairn status"

say "Uploading with the aws cli to $AWS_ENDPOINT_URL"
s3 mb s3://demo >/dev/null || fail "the bucket could not be made"
before=$SECONDS
s3 sync --only-show-errors "$FILES" s3://demo || fail "an upload failed"
upload=$((SECONDS - before))
echo "$count files, $size MiB in $upload s"

# ---- two disks are lost while files are being read ----
downloads() {
    local path n=0 bad=0
    while [ ! -e "$WORK/stop" ]; do
        path=$(shuf -n 1 "$WORK/list")
        [ $((n % 8)) != 7 ] || path=large.bin
        if s3 cp --only-show-errors "s3://demo/$path" - 2>>"$WORK/downloads.log" |
            cmp -s - "$FILES/$path"; then
            n=$((n + 1))
        else
            bad=$((bad + 1))
            echo "not equal: $path" >>"$WORK/downloads.log"
        fi
        echo "$n $bad" >"$WORK/downloads"
    done
}
say "Downloading in a loop, comparing every byte"
downloads &
loop=$!
until [ -s "$WORK/downloads" ]; do
    kill -0 $loop 2>/dev/null || fail "the download loop ended"
    read -rt 0.2 <> <(:) || :
done

"$CAIRN" rebuild status --watch --timeout 60s >/dev/null || fail "redundancy is not whole"
say "Killing chunk-3 and chunk-6 and wiping their disks"
lost=
for name in chunk-3 chunk-6; do
    id=$(json "[d['id'] for d in v if d['host'] == 'host-${name#chunk-}'][0]" disk list) ||
        fail "no disk on $name"
    "$CAIRN" dev kill "$name" --dir "$CLUSTER" >/dev/null || fail "$name could not be killed"
    rm -rf "${CLUSTER:?}/data/$name" && mkdir "$CLUSTER/data/$name"
    lost="$lost $id"
done
echo "lost disks:$lost"
read -r n0 _ <"$WORK/downloads"
for i in $(seq 300); do
    read -r n bad <"$WORK/downloads"
    [ "$n" -ge $((n0 + 3)) ] && break
    [ "$i" != 300 ] || fail "downloads stand still with two disks lost"
    read -rt 0.2 <> <(:) || :
done
[ "$bad" = 0 ] || fail "$bad downloads differed; see $WORK/downloads.log: $(tail -n 3 "$WORK/downloads.log")"
echo "$((n - n0)) downloads since, all equal: what is missing is decoded from the other shards"

say "Telling the cluster that the disks are gone for good; it rebuilds onto the other six"
before=$SECONDS
for id in $lost; do
    "$CAIRN" disk fail "$id" || fail "disk $id could not be marked as failed"
done
"$CAIRN" rebuild status --watch || fail "the rebuild did not end"
rebuild=$((SECONDS - before))
touch "$WORK/stop"
wait "$loop"
loop=
read -r n bad <"$WORK/downloads"
[ "$bad" = 0 ] || fail "$bad of $((n + bad)) downloads differed: $(tail -n 3 "$WORK/downloads.log")"
echo "rebuilt in $rebuild s; $n downloads meanwhile, all byte-equal"

# ---- proof ----
say "Verifying every shard of every object"
while read -r path; do
    "$CAIRN" object show "demo/$path" >"$WORK/shown" || {
        cat "$WORK/shown"
        fail "demo/$path does not have all its shards"
    }
done <"$WORK/list"
echo "$count objects, every shard in place and verified"
say "Fetching everything again"
s3 sync --only-show-errors s3://demo "$WORK/back" || fail "a download failed"
diff -rq "$FILES" "$WORK/back" || fail "what came back differs"
echo "$count files, $size MiB, all byte-equal"

# ---- the metadata leader is lost ----
leader=$(json "v['metadata']['leader']" status)
name=$(basename "$(grep -lx "metadata_listen = $leader" "$CLUSTER"/conf/metadata-*.conf)" .conf)
say "Killing the metadata leader, $name ($leader), and writing on"
"$CAIRN" dev kill "$name" --dir "$CLUSTER" >/dev/null || fail "$name could not be killed"
before=$SECONDS
head -5 "$WORK/list" | while read -r path; do
    s3 cp --only-show-errors "$FILES/$path" "s3://demo/after/$path" || exit 1
    s3 cp --only-show-errors "s3://demo/after/$path" - | cmp - "$FILES/$path" || exit 1
done || fail "writes did not go on"
failover=$((SECONDS - before))
"$CAIRN" status

say "All of it held"
cat <<SUMMARY
  uploaded      $count files, $size MiB in $upload s
  lost          2 of 8 disks, while $n downloads came back byte-equal
  rebuilt       in $rebuild s onto the other six, every shard verified
  lost          the metadata leader; 5 writes and reads took $failover s
  all of it     $((SECONDS - began)) s
SUMMARY
