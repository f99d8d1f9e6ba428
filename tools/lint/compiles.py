"""Formatting by clang-format, and every header compiling alone."""
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wstrict-prototypes", "-fsyntax-only"]


def check_format(tree):
    names = tree.sources(product_only=False)

    def run(part):
        return subprocess.run(["clang-format", "--dry-run", "--ferror-limit=1"] + part,
                              cwd=tree.root, capture_output=True, text=True)
    parts = [names[i:i + 25] for i in range(0, len(names), 25)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(run, parts):
            for line in done.stderr.splitlines():
                if "clang-format-violations" in line:
                    where = line.split(": ")[0]
                    tree.fail(where.rsplit(":", 1)[0], "not formatted: clang-format -i "
                              + where.split(":")[0])
            if done.returncode and not done.stderr:
                tree.fail("clang-format", f"ended with {done.returncode}")


def check_headers(tree):
    generated = os.path.join(os.path.dirname(tree.build), "gen")

    def run(name):
        return name, subprocess.run(
            ["gcc", "-x", "c"] + FLAGS + ["-I.", "-I" + generated, "-"], cwd=tree.root,
            input=f'#include "{name}"\n', capture_output=True, text=True)
    headers = [n for n in tree.sources(product_only=False) if n.endswith(".h")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, done in pool.map(run, headers):
            if done.returncode:
                error = [line for line in done.stderr.splitlines() if "error" in line]
                tree.fail(name, "does not compile alone: " + (error or [done.stderr])[0])
