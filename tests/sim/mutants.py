#!/usr/bin/python3
"""Whether the simulator bites: the product with one deliberate defect at a time, run on seeds until one fails.

  tests/sim/mutants.py [NUMBER ...] [--seeds N] [--start SEED] [--jobs N] [--check] [--table]

Each defect is an entry in tests/sim/mutants/*.txt:

  [7] forgets-its-vote
  rule: a vote is remembered over a restart
  file: metadata/raft/raft.c
   a line that stays
  -a line that goes
  +a line that comes

Lines behind "file:" are the source's own, whole, and stand in it exactly once; an entry may have several
files. A changed copy is compiled under build/mutants/NUMBER and linked with the objects of the build; the
sources are not touched. A mutant is found by a seed that fails with it and passes without it; a seed that takes
more than CPU_SECONDS is one that fails. Closes with 'N passed, N failed'.

--check runs nothing: it sees that every entry still fits its source, compiles, and has its row in
docs/testing.md. --table prints the rows for docs/testing.md."""
import argparse
import concurrent.futures
import glob
import os
import re
import resource
import shlex
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = "build/mutants"
SEEDS, CPU_SECONDS, JOBS_MAX = 400, 30, 16


class Mutant:
    def __init__(self, number, name):
        self.number, self.name, self.rule, self.files = number, name, "", []


def read_entries(path, found):
    mutant = None
    with open(path, encoding="utf-8") as f:
        for at, line in enumerate(f.read().split("\n"), 1):
            head = re.fullmatch(r"\[(\d+)\] ([a-z0-9-]+)", line)
            if head:
                mutant = Mutant(int(head[1]), head[2])
                if mutant.number in found:
                    sys.exit(f"{path}:{at}: a second mutant {mutant.number}")
                found[mutant.number] = mutant
            elif line.startswith("#") or (not line and not (mutant and mutant.files)):
                continue
            elif line.startswith("rule: "):
                mutant.rule = line[6:]
            elif line.startswith("file: "):
                mutant.files.append((line[6:], [], []))
            elif line == "":
                mutant = None  # the entry ends
            elif mutant and mutant.files and line[0] in " -+":
                _, old, new = mutant.files[-1]
                if line[0] != "+":
                    old.append(line[1:])
                if line[0] != "-":
                    new.append(line[1:])
            else:
                sys.exit(f"{path}:{at}: what is this?")


def read_all():
    found = {}
    for path in sorted(glob.glob(os.path.join(ROOT, "tests/sim/mutants/*.txt"))):
        read_entries(path, found)
    return found


def changed_sources(m):
    """file: its changed text; ValueError when the entry does not fit."""
    out = {}
    for file, old, new in m.files:
        if file not in out:
            with open(os.path.join(ROOT, file), encoding="utf-8") as f:
                out[file] = f.read()
        text, find = "\n" + out[file], "\n" + "\n".join(old) + "\n"
        if text.count(find) != 1:
            raise ValueError(f"its lines stand {text.count(find)} times in {file}")
        out[file] = text.replace(find, "\n" + "".join(line + "\n" for line in new))[1:]
    if not out or not m.rule:
        raise ValueError("no file or no rule")
    return out


def write_copies(m):
    folder = os.path.join(BUILD, str(m.number))
    copies = []
    for file, text in changed_sources(m).items():
        copy = os.path.join(folder, file)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        with open(copy, "w", encoding="utf-8") as f:
            f.write(text)
        copies.append(copy)
    return folder, copies


def say_how():
    """How the Makefile compiles and links, in words."""
    out = subprocess.run(["make", "-s", "print-mutant"], cwd=ROOT, check=True, capture_output=True,
                         text=True).stdout.splitlines()
    return shlex.split(out[0]), shlex.split(out[1])


def compile_with(compiler, m, arguments):
    # -w: a line less may leave something unused
    done = subprocess.run(compiler + [f"-DMUTANT={m.number}", "-w"] + arguments, capture_output=True,
                          text=True)
    if done.returncode:
        raise ValueError("does not compile: " + done.stderr.strip()[:400])


def build(m, compiler, linker):
    folder, copies = write_copies(m)
    objects = []
    for copy in copies:
        objects.append(copy[:-2] + ".o")
        compile_with(compiler, m, ["-c", "-o", objects[-1], copy])
    program = os.path.join(folder, "sim")
    subprocess.run(linker[:1] + ["-o", program] + objects + linker[1:], check=True)
    return program


def bound():
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run_seed(program, seed):
    """None, or what failed."""
    done = subprocess.run([program, "--seed", str(seed)], capture_output=True, text=True, errors="replace",
                          preexec_fn=bound)
    if done.returncode == 0:
        return None
    said = re.search(r"^seed \d+ failed: (.*)", done.stderr, re.M)
    assertion = re.search(r"Assertion `(.*)' failed", done.stderr)
    return f"assertion {assertion[1]}" if assertion else said[1] if said else f"exit status {done.returncode}"


class Sound:
    """The seeds that pass without a defect; each is asked once."""

    def __init__(self):
        self.lock, self.seeds = threading.Lock(), {}

    def passes(self, seed):
        with self.lock:
            if seed not in self.seeds:
                self.seeds[seed] = run_seed("build/sim", seed) is None
            return self.seeds[seed]


def hunt(m, args, sound, compiler, linker):
    """(found, seeds taken, seconds, what it said)"""
    begun = time.monotonic()
    try:
        program = build(m, compiler, linker)
    except (ValueError, subprocess.CalledProcessError) as e:
        return False, 0, 0.0, str(e)
    for seed in range(args.start, args.start + args.seeds):
        said = run_seed(program, seed)
        if said and sound.passes(seed):
            return True, seed - args.start + 1, time.monotonic() - begun, said
    return False, args.seeds, time.monotonic() - begun, "escaped"


def in_words(m):
    return ", ".join(f"`{file}`" for file in sorted({f for f, _, _ in m.files}))


def run(mutants, args):
    compiler, linker = say_how()
    sound, rows, failed = Sound(), {}, 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        tasks = {pool.submit(hunt, m, args, sound, compiler, linker): m for m in mutants}
        for done in concurrent.futures.as_completed(tasks):
            m = tasks[done]
            found, seeds, seconds, said = done.result()
            failed += not found
            print(f"{'found  ' if found else 'MISSED '} {m.number:3} {m.name:32} {seeds:4} seeds "
                  f"{seconds:6.1f} s  {said[:150]}", flush=True)
            rows[m.number] = (m, seeds, seconds)
    if args.table:
        print("| | mutant | the rule that it breaks | where | seeds | s |\n|---|---|---|---|---|---|")
        for number in sorted(rows):
            m, seeds, seconds = rows[number]
            print(f"| {number} | {m.name} | {m.rule} | {in_words(m)} | {seeds} | {seconds:.0f} |")
    bad = [s for s, good in sound.seeds.items() if not good]
    if bad:
        print(f"seeds that fail without any defect: {sorted(bad)}")
    failed += len(bad)
    print(f"{len(mutants) + len(bad) - failed} passed, {failed} failed")
    return failed


def check_one(m, compiler, documented):
    try:
        for copy in write_copies(m)[1]:
            compile_with(compiler, m, ["-fsyntax-only", copy])
        if f"| {m.number} | {m.name} |" not in documented:
            raise ValueError("has no row in docs/testing.md")
    except ValueError as e:
        print(f"mutant {m.number} {m.name}: {e}")
        return False
    return True


def check(mutants, args):
    with open("docs/testing.md", encoding="utf-8") as f:
        documented = f.read()
    compiler, _ = say_how()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        good = sum(pool.map(lambda m: check_one(m, compiler, documented), mutants))
    print(f"{good} passed, {len(mutants) - good} failed")
    return len(mutants) - good


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("numbers", nargs="*", type=int, metavar="NUMBER")
    p.add_argument("--seeds", type=int, default=SEEDS, help=f"at most so many for each ({SEEDS})")
    p.add_argument("--start", type=int, default=1, help="the first seed (1)")
    p.add_argument("--jobs", type=int, default=int(os.environ.get("JOBS", "2")), help="mutants at once (2)")
    p.add_argument("--check", action="store_true")
    p.add_argument("--table", action="store_true")
    args = p.parse_args()
    if not 1 <= args.jobs <= JOBS_MAX or args.seeds < 1:
        p.error(f"--jobs 1..{JOBS_MAX}, --seeds from 1")
    all_of_them = read_all()
    unknown = [n for n in args.numbers if n not in all_of_them]
    if unknown:
        p.error(f"no mutant {unknown[0]}")
    os.chdir(ROOT)
    mutants = [all_of_them[n] for n in args.numbers or sorted(all_of_them)]
    sys.exit(1 if (check if args.check else run)(mutants, args) else 0)


if __name__ == "__main__":
    main()
