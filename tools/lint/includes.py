"""Includes point down: roles never include one another, private headers stay in their folder
and what lies below it; the tests may look inside."""
import os
import re
from tree import LAYERS, layer_of

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def check(tree):
    for name in tree.sources(product_only=False):
        layer = layer_of(name)
        for included in INCLUDE.findall(tree.text(name)):
            inside = os.path.dirname(name) + "/"
            if included.endswith("_internal.h") and not name.startswith("tests/") and \
                    not inside.startswith(os.path.dirname(included) + "/"):
                tree.fail(name, f"includes {included}, which is private to its folder")
            if layer is None:
                continue
            target = layer_of(included)
            if target is None:
                tree.fail(name, f'includes "{included}", which is not written from the root '
                                "or no part of the product")
            elif target != layer and target not in LAYERS[layer]:
                tree.fail(name, f"includes {included}: {layer} may not depend on {target}")
