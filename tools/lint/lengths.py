"""Files of at most 600 lines, functions of at most 70. What was over when it was listed in
baseline.txt may only shrink."""
import os
import re

FILE_LINES, FUNCTION_LINES = 600, 70
BASELINE = "tools/lint/baseline.txt"
NAME = re.compile(r"([A-Za-z_]\w*)\s*\(")
KINDS = (".c", ".h", ".py", ".sh", "Makefile")


def functions(lines):
    """(name, lines) of each function: formatted code has its braces alone in column 0."""
    begin = None
    for i, line in enumerate(lines):
        if line == "{":
            begin = i
        elif line.startswith("}") and begin is not None:
            head = begin - 1
            while head > 0 and lines[head - 1] and lines[head - 1][-1] not in ";}/" \
                    and not lines[head - 1].startswith("#"):
                head -= 1
            found = NAME.search(" ".join(lines[head:begin]))
            yield found[1] if found else f"line {begin}", i - head + 1
            begin = None


def measure(tree):
    """What is over its limit: place -> lines."""
    over = {}
    for name in tree.files:
        if not name.endswith(KINDS):
            continue
        lines = tree.text(name).splitlines()
        if len(lines) > FILE_LINES:
            over[name] = len(lines)
        if name.endswith((".c", ".h")):
            for function, length in functions(lines):
                if length > FUNCTION_LINES:
                    over[f"{name}:{function}"] = length
    return over


def read_baseline(tree):
    if not tree.exists(BASELINE):
        return {}
    rows = [line.split() for line in tree.text(BASELINE).splitlines()
            if line and not line.startswith("#")]
    return {place: int(length) for place, length in rows}


def check(tree):
    allowed, over = read_baseline(tree), measure(tree)
    for place, length in sorted(over.items()):
        limit = FUNCTION_LINES if ":" in place else FILE_LINES
        if length > allowed.get(place, limit):
            tree.fail(place, f"{length} lines, allowed are {allowed.get(place, limit)}")
    for place, length in sorted(allowed.items()):
        if over.get(place, 0) < length:
            tree.fail(BASELINE, f"{place} has shrunk: run tools/lint/lint.py --shrink")


def shrink(tree):
    """Rewrites the baseline with what is smaller now; never adds or raises."""
    over = measure(tree)
    kept = {place: min(length, over[place]) for place, length in read_baseline(tree).items()
            if place in over}
    head = [line for line in tree.text(BASELINE).splitlines() if line.startswith("#")]
    with open(os.path.join(tree.root, BASELINE), "w", encoding="utf-8") as f:
        f.write("\n".join(head + [f"{p} {n}" for p, n in sorted(kept.items())]) + "\n")
