"""Words that stand where work is missing, paths of one machine, tests that sleep and hope."""
import re

MISSING = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|not implemented " r"yet|\bfor " r"now,")
MACHINE = re.compile(r"(?<![\w.])/(home|root|work)/\w")
SLEEP = re.compile(r"\bsleep\(\d|\btime\.sleep\(|\bsleep \d")
KINDS = (".c", ".h", ".py", ".sh", ".proto", ".md", "Makefile")


def check(tree):
    for name in tree.files:
        if not name.endswith(KINDS):
            continue
        for number, line in enumerate(tree.text(name).splitlines(), 1):
            where = f"{name}:{number}"
            if not name.endswith(".md") and MISSING.search(line):
                tree.fail(where, "says that something is missing: finish it, or leave it out")
            if MACHINE.search(line):
                tree.fail(where, "names a path of one machine")
            if name.startswith("tests/") and not name.startswith("tests/lint/") \
                    and SLEEP.search(line):
                tree.fail(where, "sleeps: wait for the condition, with a deadline")
