"""A real cluster for a test: started in a directory of its own, stopped whatever happens.

    with Cluster(disks=8) as cluster:
        cluster.kill("chunk-3")
        cluster.wait_until(lambda: ..., 30, "the disk is down")

Also the frame of a test program: run(tests) prints each test's outcome and 'N passed, N failed'."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CAIRN = os.environ.get("CAIRN", os.path.join(ROOT, "build/release/cairn"))
LONG = bool(os.environ.get("CAIRN_LONG"))


class Failed(Exception):
    """What a test expected and did not find."""


def check(ok, what):
    if not ok:
        raise Failed(what)


def cairn(*words, status=0, **options):
    """Runs a verb; its exit status must be the given one (None: any). Returns its standard output."""
    done = subprocess.run([CAIRN, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=options.pop("timeout", 120), **options)
    check(status is None or done.returncode == status,
          f"cairn {' '.join(map(str, words))}: exit status {done.returncode}, not {status}\n"
          f"{done.stdout}{done.stderr}")
    return done.stdout if not status else done.stdout + done.stderr


def wait_until(condition, seconds, what):
    """Asks again and again until it holds; returns what the condition returned."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        found = condition()
        if found:
            return found
        check(time.monotonic() < deadline, f"not within {seconds} s: {what}")
        pause.wait(0.05)


class Cluster:
    def __init__(self, **plan):
        self.plan = {"s3_port": 0, **plan}
        self.dir = None

    def __enter__(self):
        self.home = tempfile.mkdtemp(prefix="cairn-test-")
        self.dir = os.path.join(self.home, "cluster")
        try:
            self.up()
        except BaseException:
            self.close(keep_logs=True)
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            with contextlib.suppress(subprocess.SubprocessError):
                self.describe()
        self.close(keep_logs=kind is not None)

    def describe(self):
        """What a failed test leaves, as far as it can still be asked."""
        for words in (["status"], ["rebuild", "status"], ["disk", "list"], ["pg", "list", "--unwell"]):
            asked = subprocess.run([CAIRN, *words], env=self.environment, capture_output=True, text=True, timeout=60,
                                   check=False)
            print(f"--- cairn {' '.join(words)}\n{asked.stdout}{asked.stderr}", end="")

    def up(self):
        words = [f"--{k.replace('_', '-')}={v}".split("=", 1) for k, v in self.plan.items()]
        cairn("dev", "up", "--dir", self.dir, *[w for pair in words for w in pair])
        with open(os.path.join(self.dir, "credentials.env"), encoding="utf-8") as f:
            self.credentials = dict(line.strip().split("=", 1) for line in f if "=" in line)
        # What a machine says about other clouds and proxies is not meant for this cluster.
        plain = {k: v for k, v in os.environ.items()
                 if not k.startswith("AWS_") and not k.lower().endswith("_proxy")}
        self.environment = {**plain, **self.credentials,
                            "CAIRN_CONFIG": os.path.join(self.dir, "cairn.conf")}

    def close(self, keep_logs=False):
        subprocess.run([CAIRN, "dev", "down", "--dir", self.dir], capture_output=True, timeout=120)
        if keep_logs:
            for name in sorted(os.listdir(os.path.join(self.dir, "log"))
                               if os.path.isdir(os.path.join(self.dir, "log")) else []):
                with open(os.path.join(self.dir, "log", name), errors="replace") as f:
                    print(f"--- {name}\n" + "".join(f.readlines()[-15:]), end="")
        shutil.rmtree(self.home, ignore_errors=True)

    def ask(self, *words, **options):
        """A verb of this cluster with --json: the value it printed."""
        return json.loads(cairn(*words, "--json", env=self.environment, **options))

    def start(self, name):
        cairn("dev", "start", name, "--dir", self.dir)

    def stop(self, name):
        cairn("dev", "stop", name, "--dir", self.dir)

    def kill(self, name):
        cairn("dev", "kill", name, "--dir", self.dir)

    def wipe(self, name):
        """Empties the data directory of a process that does not run."""
        path = os.path.join(self.dir, "data", name)
        shutil.rmtree(path)
        os.mkdir(path)

    def processes(self):
        """name -> pid, None when it does not run."""
        return {row["name"]: row["pid"] if row["state"] == "running" else None
                for row in json.loads(cairn("dev", "list", "--dir", self.dir, "--json"))}


def run(tests):
    """Runs the functions; the program's exit status."""
    failed = 0
    for test in tests:
        begin = time.monotonic()
        try:
            test()
            outcome = "ok"
        except Exception as e:
            failed += 1
            outcome = f"FAILED: {e}"
            if not isinstance(e, Failed):
                traceback.print_exc(file=sys.stdout)
        print(f"{test.__name__}: {outcome} ({time.monotonic() - begin:.1f} s)", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0
