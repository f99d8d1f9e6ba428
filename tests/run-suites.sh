#!/bin/sh
# Runs the given suite programs one after the other; shows what failed; closes with a count.
passed=0 failed=0
for suite in "$@"; do
    if out=$("$suite" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s\n' "$out" | tail -n 60
        echo "FAILED $suite"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
