"""What each folder's objects may call: its own layers, and an allowlist of outside symbols."""
import os
import re
import subprocess
from tree import EDGE, LAYERS, layer_of

LIST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "symbols.txt")
COMPILER = re.compile(r"^(_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__assert_fail|__[a-z]+_chk|_DYNAMIC)$")
GENERATED = re.compile(r"^[a-z0-9_]+__(init|pack|unpack|get_packed_size|pack_to_buffer|"
                       r"free_unpacked|descriptor|method_.*)$")


def read_lists():
    """symbols.txt: a line "[folder ...]" opens a block of patterns for those folders."""
    lists, folders = {}, []
    with open(LIST, encoding="utf-8") as f:
        for line in f:
            line = line.split("#")[0].strip()
            if line.startswith("["):
                folders = line.strip("[]").split()
            elif line:
                for folder in folders:
                    lists.setdefault(folder, []).extend(line.split())
    return {folder: re.compile("^(" + "|".join(
        re.escape(p).replace(r"\*", "[A-Za-z0-9_]*") for p in patterns) + ")$")
        for folder, patterns in lists.items()}


def nm(paths):
    """(object, kind, symbol) of every global symbol."""
    if not paths:
        return
    out = subprocess.run(["nm", "-A", "-g", "-P"] + paths, capture_output=True, check=True,
                         text=True).stdout
    for line in out.splitlines():
        head, rest = line.split(": ", 1)
        words = rest.split()
        yield head, words[1], words[0]


def folders_of(layer):
    """A folder's own list, those of the folders above it, and the one for all."""
    names = ["all", layer]
    if layer not in ("common/base", "erasure", "placement", "metadata/raft"):
        names.append("floor-users")
    return names


def check_twins(tree, objects, symbols):
    """No name is defined twice, but for the floors' two halves: archives hide it until the link."""
    owners = {}
    for path, kind, symbol in symbols:
        name = objects[path]
        half = os.path.dirname(name)
        if kind in "UwV" or half in ("common/sys/sim", "common/kv/memory"):
            continue
        if owners.setdefault(symbol, name) != name:
            tree.fail(name, f"defines {symbol}, as {owners[symbol]} does")


def check(tree):
    lists = read_lists()
    objects = dict(tree.objects())
    symbols = list(nm(list(objects)))
    home = {}
    for path, kind, symbol in symbols:
        if kind not in "UwV":
            home.setdefault(symbol, set()).add(layer_of(objects[path]))
    check_twins(tree, objects, symbols)
    for path, kind, symbol in symbols:
        name = objects[path]
        layer = layer_of(name)
        if kind not in "Uw" or layer in ("common/sys/posix", "common/sys/sim") or EDGE.match(name):
            continue
        plain = symbol.split("@")[0]
        if COMPILER.match(plain) or any(
                f in lists and lists[f].match(plain) for f in folders_of(layer)):
            continue
        homes = home.get(symbol)
        if homes:
            # A floor's symbol is the floor's; its two implementations have one header.
            homes = {"common/sys" if h.startswith("common/sys") else
                     "common/kv" if h.startswith("common/kv") else h for h in homes}
            if not homes & set(LAYERS[layer] + [layer]):
                tree.fail(name, f"calls {plain} of {', '.join(sorted(homes))}, "
                                f"on which {layer} may not depend")
        elif not (GENERATED.match(plain) and "common/proto" in LAYERS[layer]):
            tree.fail(name, f"calls {plain}, which is not allowed in {layer} "
                            "(tools/lint/symbols.txt)")
