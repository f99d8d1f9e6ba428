#!/bin/sh
# What the documentation says that holds: the table of keys is the program's, links lead somewhere.
cd "$(dirname "$0")/../.." || exit 1
cairn=build/release/cairn
passed=0 failed=0
check() { # name command...
    name=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED $name"; fi
}
keys_are_current() {
    [ "$($cairn config --markdown | wc -l)" -gt 10 ] &&
        sed -n '/^| key /,$p' docs/configuration.md | diff - build/test/configuration.md
}
links_lead_somewhere() {
    find . -name '*.md' -not -path './build/*' | while read -r page; do
        grep -oE '\]\([^):]+\)' "$page" | sed 's/^](//; s/)$//; s/#.*//' | while read -r link; do
            [ -z "$link" ] || [ -e "$(dirname "$page")/$link" ] || echo "$page: $link"
        done
    done | grep . && return 1
    return 0
}
mkdir -p build/test
$cairn config --markdown >build/test/configuration.md
check "docs/configuration.md is current (cairn config --markdown)" keys_are_current
check "links lead somewhere" links_lead_somewhere
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
