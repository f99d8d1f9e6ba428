#!/bin/bash
# The benchmark: `make bench` calls it. Builds the yardstick, runs bench.py, which brings a cluster of
# real processes up and down; all words go on to it (--help).
set -eu
cd "${BASH_SOURCE[0]%/*}/../.."
mkdir -p build/bench
${CC:-cc} -std=c11 -O2 -Wall -Wextra -pthread -o build/bench/yardstick tests/bench/yardstick.c -lisal -lcrypto
exec python3 -B tests/bench/bench.py "$@"
