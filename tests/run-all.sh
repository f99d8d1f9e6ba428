#!/bin/bash
# Every test, stage by stage; `make test` calls it with all packages installed. Goes on after a
# failure, so that one run shows them all. Closes with "N passed, N failed".
#
#   tests/run-all.sh            what make test runs, within ten minutes on two cores
#   tests/run-all.sh --long     the soaks: the simulator, cluster and clients stages with
#                               CAIRN_LONG=1 and the shares of the rows "long ..."
set -u
cd "${BASH_SOURCE[0]%/*}/.." || exit 1
. tests/results.sh

long=
[ "${1:-}" != --long ] || long="long "
[ -z "$long" ] || export CAIRN_LONG=1
unset MAKEFLAGS MAKELEVEL MFLAGS
export JOBS=${JOBS:-$(nproc)}
RESULTS=$(mktemp)
export RESULTS
trap 'rm -f "$RESULTS"' EXIT
started=$SECONDS

stage() { # name
    echo "== $1 (at $((SECONDS - started)) s)"
}
build() { # name make-arguments...
    local name=$1
    shift
    run_one build "$name" make -s -j "$JOBS" "$@"
}
suites() { # variant make-variable
    local list
    list=$(make -s VARIANT="$1" "$2")
    [ -n "$list" ] || return 0
    # shellcheck disable=SC2086
    tests/run-suites.sh $list
}
# Each executable test_* of a folder is one program; what it needs lies beside it, not executable.
programs() { # stage folder
    local program
    for program in "$2"/test_*; do
        [ -f "$program" ] && [ -x "$program" ] || continue
        run_one "$long$1" "${program#tests/}" "$program"
    done
}
# Programs that mostly wait, one more than JOBS at once: each in a network of its own, so that no two want the same port.
programs_apart() { # stage folder
    local program
    for program in "$2"/test_*; do
        [ -f "$program" ] && [ -x "$program" ] || continue
        while [ "$(jobs -rp | wc -l)" -gt "$JOBS" ]; do wait -n; done
        # shellcheck disable=SC2016
        run_one "$1" "${program#tests/}" unshare --net sh -c 'ip link set lo up && exec "$0"' "$program" &
    done
    wait
}

stage "release build"
build release all lint-objects
if [ -z "$long" ]; then
    stage lint
    run_one lint lint tools/lint/lint.py
    programs lint tests/lint
    stage "unit suites under ASan and UBSan"
    build asan VARIANT=asan all unit-programs && suites asan print-unit
    stage "suites on the real floor under TSan"
    build tsan VARIANT=tsan all unit-posix-programs && suites tsan print-unit-posix
else
    build asan VARIANT=asan all
    build tsan VARIANT=tsan all
    stage "crash states of LevelDB"
    crash=build/release/tests/unit/kv_posix/test_leveldb_crash
    build crash $crash && run_one "long unit" "long ${crash#build/release/tests/}" $crash
    stage "every state and every byte of a disk"
    for suite in states flips; do
        program=unit/chunkserver/test_shard_store_$suite
        build "$suite" "build/release/tests/$program" &&
            run_one "long unit" "$program" "build/release/tests/$program"
    done
fi
if ls tests/sim/*.c >/dev/null 2>&1; then
    stage simulator
    build simulator build/release/sim-run &&
        run_one "${long}simulator" "${long}simulator" build/sim --today --seeds "${SEEDS:-${long:+2}200}" \
            --known tests/sim/seeds.txt --jobs "$JOBS"
    programs simulator tests/sim
    if [ -z "$long" ]; then
        run_one simulator sim/mutants.py tests/sim/mutants.py --check --jobs "$JOBS"
    else
        run_one "long simulator" "long mutants" tests/sim/mutants.py --jobs "$JOBS"
    fi
fi
stage cluster
if [ -z "$long" ]; then programs_apart cluster tests/cluster; else programs cluster tests/cluster; fi
stage clients
programs clients tests/clients

read -r passed failed <<<"$(awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }' "$RESULTS")"
echo "== done in $((SECONDS - started)) s"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
