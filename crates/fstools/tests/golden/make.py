"""Makes `btrees.fs`: BTrees by the original, sound ones and ones that are damaged on purpose, and
`btrees.json`: what the original's own checks say of each.

Run with ZODB 6.4 and BTrees 6.4:  python make.py
"""

import datetime
import json
import os

import transaction
import ZODB
from BTrees.check import check
from BTrees.fsBTree import fsBTree
from BTrees.IIBTree import IIBTree
from BTrees.OOBTree import OOBTree
from BTrees.OOBTree import OOBTreePy
from BTrees.OOBTree import OOBucket
from BTrees.OOBTree import OOTreeSet
from BTrees.QQBTree import QQBTree
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage

HERE = os.path.dirname(os.path.abspath(__file__))

# Small nodes make a small file.
for family in (OOBTree, IIBTree, OOTreeSet, QQBTree):
    family.max_leaf_size = 4
    family.max_internal_size = 4


def sound(root):
    root["empty"] = OOBTree()
    root["one"] = OOBTree({"a": 1})
    root["texts"] = OOBTree({chr(i) + chr(0x1FFFF - i): i for i in range(100, 60000, 900)})
    root["none"] = OOBTree({None: 0})
    root["none"].update({number / 3: number for number in range(40)})
    root["tuples"] = OOBTree({(i % 7, "x", i): i for i in range(40)})
    root["dates"] = OOBTree({datetime.date.fromordinal(700000 + i): i for i in range(20)})
    root["python"] = OOBTreePy({i: i for i in range(80)})
    root["numbers"] = IIBTree({i * 37 % 101 - 50: i for i in range(101)})
    root["large"] = QQBTree({2**64 - 1 - i: i for i in range(30)})
    root["set"] = OOTreeSet([b"%03d" % i for i in range(90)])
    root["files"] = fsBTree({b"%02d" % i: b"%06d" % i for i in range(60)})
    root["nested"] = OOBTree({i: OOBTree({j: j for j in range(i)}) for i in range(12)})
    root["bucket"] = OOBucket({1: 2, 3: 4})
    root["cleared"] = IIBTree({i: i for i in range(200)})
    root["shrunk"] = IIBTree({i: i for i in range(200)})


def shrink(root):
    root["cleared"].clear()
    for key in list(root["shrunk"])[20:150]:
        del root["shrunk"][key]


def children(node):
    return list(node.__getstate__()[0][::2])


def leaves(node):
    found = [node._firstbucket]
    while len(found[-1].__getstate__()) == 2:
        found.append(found[-1].__getstate__()[1])
    return found


def change(node, state):
    node.__setstate__(state)
    node._p_changed = True


def damage(root):
    def tree(name, size=60):
        root[name] = OOBTree({"k%03d" % i: i for i in range(size)})
        transaction.commit()
        return root[name]

    leaf = leaves(tree("keys fall in a bucket"))[3]
    items, following = leaf.__getstate__()
    change(leaf, (items[2:4] + items[:2] + items[4:], following))

    leaf = leaves(tree("a key is in the wrong bucket"))[5]
    items, following = leaf.__getstate__()
    change(leaf, (items + ("k059x", 1), following))

    leaf = leaves(tree("a key is twice"))[2]
    items, following = leaf.__getstate__()
    change(leaf, (items[:2] + items, following))

    found = leaves(tree("a bucket is skipped in the chain"))
    change(found[3], (found[3].__getstate__()[0], found[5]))

    found = leaves(tree("the chain ends early"))
    change(found[7], (found[7].__getstate__()[0],))

    found = leaves(tree("the chain goes on"))
    change(found[-1], (found[-1].__getstate__()[0], found[0]))

    leaf = leaves(tree("a bucket is empty"))[4]
    change(leaf, ((), leaf.__getstate__()[1]))

    broken = tree("the first bucket is another")
    change(broken, (broken.__getstate__()[0], leaves(broken)[1]))

    broken = tree("an inner first bucket is another")
    inner = children(broken)[1]
    change(inner, (inner.__getstate__()[0], leaves(broken)[0]))

    broken = tree("separators fall")
    items, first = broken.__getstate__()
    items = list(items)
    items[1], items[3] = items[3], items[1]
    change(broken, (tuple(items), first))

    broken, other = tree("a bucket is missing"), tree("lost", 4)
    del root["lost"]
    inner = children(broken)[0]
    lost = children(inner)[1]._p_oid

    broken = tree("a bucket is in two places")
    inner = children(broken)[0]
    items, first = inner.__getstate__()
    items = list(items)
    items[2] = items[0]
    change(inner, (tuple(items), first))
    transaction.commit()
    return lost


def remove(storage, oid):
    entry = TransactionMetaData()
    storage.tpc_begin(entry)
    storage.deleteObject(oid, storage.load(oid)[1], entry)
    storage.tpc_vote(entry)
    storage.tpc_finish(entry)


def judged(tree):
    try:
        tree._check()
        check(tree)
    except Exception as error:
        # Without the addresses of objects.
        lines = str(error).split("\n")
        return lines[min(1, len(lines) - 1)].split(", in ")[0]
    return None


def main():
    path = os.path.join(HERE, "btrees.fs")
    storage = FileStorage(path, create=True)
    database = ZODB.DB(storage)
    connection = database.open()
    root = connection.root()
    sound(root)
    transaction.commit()
    shrink(root)
    transaction.commit()
    remove(storage, damage(root))
    connection.cacheMinimize()
    connection.close()
    database.close()

    database = ZODB.DB(FileStorage(path, read_only=True))
    root = database.open().root()
    found = {name: judged(tree) for name, tree in root.items() if hasattr(tree, "_check")}
    database.close()
    with open(os.path.join(HERE, "btrees.json"), "w") as file:
        json.dump(found, file, indent=1, sort_keys=True)
        file.write("\n")
    for ending in (".index", ".lock", ".tmp"):
        os.remove(path + ending)


if __name__ == "__main__":
    main()
