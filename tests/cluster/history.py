"""Records what clients did and were told, as JSON lines for build/check-history (tests/check/README.md).

One process, any number of threads, one monotonic clock. An operation whose outcome is never given stays
open: it may have taken effect, or may yet."""
import contextlib
import json
import os
import subprocess
import threading
import time

from cluster import ROOT, Failed, check

CHECK_HISTORY = os.environ.get("CHECK_HISTORY", os.path.join(ROOT, "build/release/check-history"))


class Operation:
    def __init__(self, line):
        self.line = line
        self.dropped = False

    def done(self, **result):
        """It returned; value=.. of a get, keys=.. of a list."""
        self.line.update(result, **{"return": time.monotonic_ns()})

    def refused(self):
        """Its condition did not hold (412; 404 for If-Match)."""
        self.done(refused=True)

    def drop(self):
        """It certainly had no effect, nor ever will."""
        self.dropped = True


class History:
    def __init__(self, path):
        self.path = path
        self.file = open(path, "w", encoding="utf-8")
        self.lock = threading.Lock()
        self.operations = 0

    @contextlib.contextmanager
    def operation(self, client, op, key=None, **fields):
        operation = Operation({"client": client, "op": op, "invoke": time.monotonic_ns(), **fields})
        if key is not None:
            operation.line["key"] = key
        try:
            yield operation
        finally:
            if not operation.dropped:
                with self.lock:
                    self.operations += 1
                    self.file.write(json.dumps(operation.line) + "\n")

    def judge(self):
        """Raises Failed unless the history is linearizable; returns check-history's line."""
        self.file.close()
        done = subprocess.run([CHECK_HISTORY, self.path], capture_output=True, text=True,
                              timeout=300, check=False)
        if done.returncode != 0:
            raise Failed(f"{done.stdout}{done.stderr}")
        check(self.operations > 0, "nothing was recorded")
        return done.stdout.strip()
