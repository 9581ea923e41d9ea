"""Trees of classes that are derived from those of BTrees.

Reads {"file": path, "set": {name: [[key, value], ...]}, "remove": {name: [key, ...]}}. The root's "large" and "small"
are objects of a class derived from OOBTree, "keys" of one derived from LLTreeSet (whose values are not used). Prints
{name: [[key, value], ...]} as another connection finds them, after `_check`, and with every node below of the class
that it should have.
"""
import json
import sys
import types

import ZODB
from BTrees.LLBTree import LLSet, LLTreeSet
from BTrees.OOBTree import OOBTree, OOBucket
from ZODB.FileStorage import FileStorage

shop = types.ModuleType("shop_index")


class Index(OOBTree):
    max_leaf_size = 8
    max_internal_size = 8


class Numbers(LLTreeSet):
    pass


for cls in (Index, Numbers):
    cls.__module__ = "shop_index"
    setattr(shop, cls.__name__, cls)
sys.modules["shop_index"] = shop
CLASSES = {"large": Index, "small": Index, "keys": Numbers}
LEAVES = {Index: OOBucket, Numbers: LLSet}


def nodes(tree):
    state = tree.__getstate__()
    if state is None or len(state) == 1:
        return
    for child in state[0][::2]:
        assert type(child) in (type(tree), LEAVES[type(tree)]), type(child)
        if type(child) is type(tree):
            nodes(child)


def main():
    asked = json.load(sys.stdin)
    db = ZODB.DB(FileStorage(asked["file"]))
    with db.transaction() as connection:
        root = connection.root()
        for name, cls in CLASSES.items():
            if name not in root:
                root[name] = cls()
            for key, value in asked["set"].get(name, ()):
                if cls is Numbers:
                    root[name].add(key)
                else:
                    root[name][key] = value
            for key in asked["remove"].get(name, ()):
                if cls is Numbers:
                    root[name].remove(key)
                else:
                    del root[name][key]
    said = {}
    with db.transaction() as connection:
        for name, cls in CLASSES.items():
            tree = connection.root()[name]
            assert type(tree) is cls
            tree._check()
            nodes(tree)
            said[name] = [[key, None if cls is Numbers else tree[key]] for key in tree]
    db.close()
    json.dump(said, sys.stdout)


main()
