#!/bin/bash
# Runs unit suite programs, JOBS at once; shows what failed; closes with a count of tests.
#
#   tests/run-suites.sh build/VARIANT/tests/unit/FOLDER/test_THING ...
set -u
. "${BASH_SOURCE[0]%/*}/results.sh"

outer=${RESULTS:-}
RESULTS=$(mktemp)
export RESULTS
trap 'rm -f "$RESULTS"' EXIT
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
# LevelDB is not instrumented and its atomics are invisible to TSan.
export TSAN_OPTIONS=${TSAN_OPTIONS:-ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66}
# TSan's shadow does not fit every layout that address randomisation makes. Where a container does not
# let it be turned off, the layouts of Debian's own kernel fit.
fixed=
if setarch "$(uname -m)" -R true 2>/dev/null; then fixed="setarch $(uname -m) -R"; fi

for suite in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do wait -n; done
    name=${suite#build/*/tests/}
    case $suite in
    # shellcheck disable=SC2086
    build/tsan/*) run_one unit "tsan $name" $fixed "$suite" & ;;
    *) run_one unit "$name" "$suite" & ;;
    esac
done
wait
[ -z "$outer" ] || cat "$RESULTS" >>"$outer"
read -r passed failed <<<"$(awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }' "$RESULTS")"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
