#!/usr/bin/python3
"""Holds the house rules that a compiler does not know; `make lint` builds the objects first.

  tools/lint/lint.py [--root DIR] [--build build/release] [--only CHECK] [--shrink]

Each check prints what it found; closes with "N passed, N failed"."""
import argparse
import os
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import compiles  # noqa: E402
import globals as mutable_globals  # noqa: E402
import includes  # noqa: E402
import lengths  # noqa: E402
import symbols  # noqa: E402
import words  # noqa: E402
from tree import Tree  # noqa: E402

CHECKS = {
    "includes": includes.check,
    "symbols": symbols.check,
    "globals": mutable_globals.check,
    "lengths": lengths.check,
    "format": compiles.check_format,
    "headers": compiles.check_headers,
    "words": words.check,
}


def main():
    parser = argparse.ArgumentParser(description="the house rules")
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(HERE)))
    parser.add_argument("--build", default="build/release", help="where the objects are")
    parser.add_argument("--only", choices=CHECKS, action="append")
    parser.add_argument("--shrink", action="store_true", help="lower the lengths' baseline")
    options = parser.parse_args()
    tree = Tree(options.root, options.build)
    if options.shrink:
        lengths.shrink(tree)
    objects = {name for _, name in tree.objects()}
    missing = [n for n in tree.sources() if n.endswith(".c") and n not in objects]
    passed = failed = 0
    for name in options.only or CHECKS:
        begin, before = time.monotonic(), len(tree.findings)
        if name in ("symbols", "globals"):
            for source in missing:
                tree.fail(source, "has no object: make lint builds it")
        CHECKS[name](tree)
        found = tree.findings[before:]
        for line in found:
            print(line)
        print(f"lint {name}: {'ok' if not found else f'{len(found)} findings'} "
              f"({time.monotonic() - begin:.1f} s)")
        passed, failed = passed + (not found), failed + bool(found)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
