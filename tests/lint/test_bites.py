#!/usr/bin/python3
"""Plants what `make lint` forbids in a small tree of its own, and sees lint fail for that reason
alone; the same tree without the plant passes."""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LINT = os.path.join(ROOT, "tools/lint/lint.py")

# A tree that holds every rule.
CLEAN = {
    "common/base/sum.h": "#pragma once\nint sum(int a, int b);\n",
    "common/base/sum.c": '#include "common/base/sum.h"\n\n'
                         "int sum(int a, int b)\n{\n    return a + b;\n}\n",
    "placement/weigh.h": "#pragma once\nint weigh(int a);\n",
    "placement/weigh.c": '#include "placement/weigh.h"\n#include "common/base/sum.h"\n\n'
                         "int weigh(int a)\n{\n    return sum(a, a);\n}\n",
    "gateway/serve.h": "#pragma once\nint serve(void);\n",
    "gateway/serve.c": '#include "gateway/serve.h"\n\nint serve(void)\n{\n    return 1;\n}\n',
    "metadata/vote_internal.h": "#pragma once\n#include <stdint.h>\n"
                                "uint32_t vote(void);\n",
}
LONG_FUNCTION = "int weigh(int a)\n{\n" + "    a++;\n" * 70 + "    return a;\n}\n"

# name, the check that must object, what it must say, and the files that differ
PLANTS = [
    ("upward include", "includes", "placement may not depend on gateway",
     {"placement/weigh.c": '#include "gateway/serve.h"\n' + CLEAN["placement/weigh.c"]}),
    ("role includes role", "includes", "gateway may not depend on metadata",
     {"gateway/serve.c": '#include "metadata/role.h"\n' + CLEAN["gateway/serve.c"],
      "metadata/role.h": "#pragma once\n"}),
    ("private header", "includes", "private to its folder",
     {"gateway/serve.c": '#include "metadata/vote_internal.h"\n' + CLEAN["gateway/serve.c"]}),
    ("time() in placement", "symbols", "calls time, which is not allowed in placement",
     {"placement/weigh.c": '#include <time.h>\n#include "placement/weigh.h"\n\n'
                           "int weigh(int a)\n{\n    return a + (int)time(NULL);\n}\n"}),
    ("malloc() in gateway", "symbols", "calls malloc",
     {"gateway/serve.c": '#include <stdlib.h>\n#include "gateway/serve.h"\n\n'
                         "int serve(void)\n{\n    return malloc(9) != NULL;\n}\n"}),
    ("upward call without include", "symbols", "calls serve of gateway",
     {"placement/weigh.c": '#include "placement/weigh.h"\n\nint serve(void);\n\n'
                           "int weigh(int a)\n{\n    return a + serve();\n}\n"}),
    ("a name defined twice", "symbols", "defines sum, as common/base/sum.c does",
     {"gateway/serve.c": '#include "gateway/serve.h"\n\nint sum(int a, int b);\n\n'
                         "int serve(void)\n{\n    return sum(1, 2);\n}\n\n"
                         "int sum(int a, int b)\n{\n    return a - b;\n}\n"}),
    ("static counter", "globals", "holds mutable state (count",
     {"placement/weigh.c": '#include "placement/weigh.h"\n\nint weigh(int a)\n{\n'
                           "    static int count;\n    return a + ++count;\n}\n"}),
    ("initialised global", "globals", "holds mutable state (level",
     {"gateway/serve.c": '#include "gateway/serve.h"\n\nstatic int level = 3;\n\n'
                         "int serve(void)\n{\n    return level++;\n}\n"}),
    ("thread-local", "globals", "holds mutable state (depth",
     {"gateway/serve.c": '#include "gateway/serve.h"\n\nstatic __thread int depth;\n\n'
                         "int serve(void)\n{\n    return depth++;\n}\n"}),
    ("long function", "lengths", "placement/weigh.c:weigh: 74 lines, allowed are 70",
     {"placement/weigh.c": '#include "placement/weigh.h"\n\n' + LONG_FUNCTION}),
    ("long file", "lengths", "placement/weigh.h: 602 lines, allowed are 600",
     {"placement/weigh.h": CLEAN["placement/weigh.h"] + "/* more */\n" * 600}),
    ("baseline raised above what is", "lengths", "has shrunk",
     {"tools/lint/baseline.txt": "placement/weigh.c 700\n"}),
    ("unformatted", "format", "not formatted",
     {"placement/weigh.c": CLEAN["placement/weigh.c"].replace("    return", "  return")}),
    ("header that needs another", "headers", "does not compile alone",
     {"metadata/vote_internal.h": "#pragma once\nuint32_t vote(void);\n"}),
    ("unfinished work", "words", "says that something is missing",
     {"placement/weigh.h": CLEAN["placement/weigh.h"] + "/* TO" "DO */\n"}),
    ("a path of one machine", "words", "names a path of one machine",
     {"placement/weigh.h": CLEAN["placement/weigh.h"] + "/* see /home" "/me/notes */\n"}),
    ("a test that sleeps", "words", "sleeps: wait for the condition",
     {"tests/wait.py": "import time\ntime.sle" "ep(3)\n"}),
]


def lint(files):
    """Builds the tree and runs lint on it: (exit status, output)."""
    with tempfile.TemporaryDirectory(prefix="cairn-lint-") as root:
        shutil.copy(os.path.join(ROOT, ".clang-format"), root)
        for name, text in files.items():
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        for name in files:
            if name.endswith(".c"):
                out = os.path.join(root, "build/release", name[:-2] + ".o")
                os.makedirs(os.path.dirname(out), exist_ok=True)
                subprocess.run(["gcc", "-std=gnu11", "-O1", "-I.", "-c", "-o", out, name],
                               cwd=root, check=True)
        done = subprocess.run([LINT, "--root", root], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


def main():
    passed = failed = 0
    status, output = lint(CLEAN)
    cases = [("clean tree passes", status == 0, output)]
    for name, check, words, files in PLANTS:
        status, output = lint({**CLEAN, **files})
        others = [line for line in output.splitlines()
                  if line.startswith("lint ") and ": ok" not in line and f"lint {check}:" not in line]
        cases.append((name, status == 1 and words in output and not others, output))
    for name, ok, output in cases:
        print(f"{name}: {'ok' if ok else 'FAILED'}")
        if not ok:
            print(output)
        passed, failed = passed + ok, failed + (not ok)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
