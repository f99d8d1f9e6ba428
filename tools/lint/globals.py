"""No mutable globals: nothing in .data, .bss, .tdata, .tbss outside the floor and the edge."""
import re
import subprocess
from tree import EDGE, FLOOR

SECTION = re.compile(r"^\s*\d+ (\.(?:data|bss|tdata|tbss)\S*)\s+([0-9a-f]+)")
SYMBOL = re.compile(r"^[0-9a-f]+ .{7} (\.(?:data|bss|tdata|tbss)\S*)\s+[0-9a-f]+ (\S+)$")
CONSTANT = (".data.rel.ro",)  # const tables of pointers


def check(tree):
    objects = [(p, n) for p, n in tree.objects() if not FLOOR.match(n) and not EDGE.match(n)]
    if not objects:
        return
    sources = dict(objects)
    out = subprocess.run(["objdump", "-h", "-t"] + list(sources), capture_output=True,
                         check=True, text=True).stdout
    name, sizes, symbols = None, {}, {}
    for line in out.splitlines():
        if ":     file format" in line:
            name = sources[line.split(":     file format")[0]]
            continue
        section = SECTION.match(line)
        if section and not section[1].startswith(CONSTANT) and int(section[2], 16) > 0:
            sizes.setdefault(name, []).append(section[1])
        symbol = SYMBOL.match(line)
        if symbol and not symbol[1].startswith(CONSTANT) and not symbol[2].startswith("."):
            symbols.setdefault(name, []).append(symbol[2])
    for bad in sorted(sizes):
        tree.fail(bad, f"holds mutable state ({', '.join(symbols.get(bad, sizes[bad]))}): "
                       "pass a context instead")
