# Sourced by the runners: counts, times, and the shares of tests/README.md. A run's results are
# lines "passed failed" in the file $RESULTS.
# shellcheck shell=bash

# Seconds allowed to a name: its own row in the table, else the row "KIND (each)".
share_of() { # name kind
    awk -F'|' -v name="$1" -v each="$2 (each)" '
        { gsub(/^[ `]+|[ `]+$/, "", $2); gsub(/ /, "", $3) }
        $2 == name { own = $3 } $2 == each { all = $3 }
        END { print own != "" ? own : all }' "${BASH_SOURCE[0]%/*}/README.md"
}

# Runs a program and judges it: its exit status, its "N passed, N failed", its time.
# Prints one line when all held, the end of the output too when not.
run_one() { # kind name command...
    local kind=$1 name=$2 begin=$EPOCHREALTIME log status counts passed failed
    shift 2
    log=build/test/$(printf '%s' "$kind/$name" | tr -c 'A-Za-z0-9_.-' '_').log
    mkdir -p build/test
    "$@" >"$log" 2>&1 </dev/null
    status=$?
    local end=$EPOCHREALTIME
    counts=$(grep -aoE '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
    if [ -n "$counts" ]; then
        read -r passed _ failed _ <<<"$counts"
        # "3 passed, 0 failed" of a program that then died, or of one that ran nothing
        [ $((passed + failed)) -gt 0 ] || failed=1
        [ "$status" = 0 ] || [ "$failed" -gt 0 ] || failed=1
    else
        passed=1 failed=0
        [ "$status" = 0 ] || passed=0 failed=1
        [ "$kind" != unit ] || passed=0 failed=1
    fi
    local share verdict
    share=$(share_of "$name" "$kind")
    verdict=$(awk -v b="$begin" -v e="$end" -v s="${share:-0}" -v f="${TIME_FACTOR:-1}" 'BEGIN {
        t = e - b; v = "fine"; if (t > 1.5 * s * f) v = "slow"; if (s == 0) v = "unlisted"; printf "%.1f %s", t, v }')
    local seconds=${verdict% *} fault=
    case $verdict in
    *unlisted) fault="no share for it in tests/README.md" ;;
    *slow) fault="$seconds s, its share in tests/README.md is $share s" ;;
    esac
    [ -z "$fault" ] || failed=$((failed + 1))
    # One write, so that lines of parallel runs do not mix.
    printf '%s' "$(
        if [ "$failed" -gt 0 ]; then
            tail -n 60 "$log"
            printf '\nFAILED %s %s (status %s) %s; all of it: %s' "$kind" "$name" "$status" \
                "$fault" "$log"
        else
            printf '%7s s of %3s  %-10s %s: %d passed' "$seconds" "$share" "$kind" "$name" \
                "$passed"
        fi
    )
"
    echo "$passed $failed" >>"${RESULTS:-/dev/null}"
    [ "$failed" = 0 ]
}
