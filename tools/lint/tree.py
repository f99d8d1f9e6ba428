"""What the checks share: the files of the tree, its layers, and what a finding is."""
import os
import re
import subprocess

# Who may include whom: one direction (CONTRIBUTING.md). A folder sees itself, its parent's public
# headers only where the parent is listed, and what is listed here.
BASE = ["common/base"]
SYS = BASE + ["common/sys"]
KV = SYS + ["common/kv"]
RPC = SYS + ["common/proto", "common/rpc"]
CLIENT = RPC + ["common/kv", "erasure", "placement", "common/client"]
LAYERS = {
    "common/base": BASE,
    "common/sys": SYS,
    "common/sys/posix": SYS,
    "common/sys/sim": SYS,
    "common/kv": KV,
    "common/kv/leveldb": KV,
    "common/kv/memory": KV,
    "common/proto": BASE,
    "common/rpc": RPC,
    "common/client": CLIENT,
    "erasure": BASE,
    "placement": BASE,
    "metadata": CLIENT + ["metadata", "metadata/raft", "metadata/state"],
    "metadata/raft": BASE,
    "metadata/state": KV + ["common/proto", "erasure", "placement"],
    "chunkserver": CLIENT,
    "gateway": CLIENT,
    "tools": CLIENT + ["metadata", "metadata/raft", "metadata/state", "chunkserver", "gateway"],
}
PRODUCT = ("common", "erasure", "placement", "metadata", "chunkserver", "gateway", "tools")
# May touch the operating system, and hold state: the floor, and the HTTP edge with its fibers.
FLOOR = re.compile(r"^(common/sys/(posix|sim)/|common/kv/(leveldb|memory)/|common/sys/[a-z_]+\.)")
EDGE = re.compile(r"^gateway/(http_mhd|http_fiber|fiber)[a-z_0-9]*\.")


class Tree:
    def __init__(self, root, build):
        self.root = root
        self.build = os.path.join(root, build)
        self.findings = []
        self.files = self._list()

    def _list(self):
        """Every source file, tracked or new; a tree without git is walked."""
        try:
            out = subprocess.run(
                ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                cwd=self.root, capture_output=True, check=True).stdout
            top = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=self.root,
                                 capture_output=True, check=True, text=True).stdout.strip()
            if os.path.realpath(top) == os.path.realpath(self.root):
                names = out.decode().split("\0")
                return sorted(n for n in set(names) if n and self.exists(n))
        except (OSError, subprocess.CalledProcessError):
            pass
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = [f for f in folders if f not in ("build", ".git")]
            found += [os.path.relpath(os.path.join(folder, n), self.root) for n in names]
        return sorted(found)

    def exists(self, name):
        return os.path.isfile(os.path.join(self.root, name))

    def text(self, name):
        with open(os.path.join(self.root, name), encoding="utf-8", errors="replace") as f:
            return f.read()

    def sources(self, product_only=True):
        """The C files, of the product or of everything."""
        return [n for n in self.files if n.endswith((".c", ".h"))
                and (not product_only or n.split("/")[0] in PRODUCT)]

    def objects(self):
        """(object file, its source) of every product object; generated code is not ours."""
        return [(path, name) for name in self.sources() if name.endswith(".c")
                for path in [os.path.join(self.build, name[:-2] + ".o")] if os.path.exists(path)]

    def fail(self, where, what):
        self.findings.append(f"{where}: {what}")


def layer_of(name):
    """The deepest listed folder that holds this file, or None."""
    folder = os.path.dirname(name)
    while folder:
        if folder in LAYERS:
            return folder
        folder = os.path.dirname(folder)
    return None
