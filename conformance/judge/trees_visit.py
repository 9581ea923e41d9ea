"""A genuine client that changes trees in the root and says what is in them.

Reads {"file": path} or {"server": "host:port", "storage"}, and "trees": [{"name", "family", "shape", "set": [[key,
value], ...], "remove": [key, ...]}]. A tree that is missing is made. Everything is one transaction. Prints, for
each tree, what another connection finds in it after `_check` and `BTrees.check`, as [[key, value], ...].
"""
import json
import sys

import ZEO
import ZODB
from BTrees.check import check
from ZODB.FileStorage import FileStorage


def opened(asked):
    if "file" in asked:
        return ZODB.DB(FileStorage(asked["file"]))
    host, _, port = asked["server"].rpartition(":")
    return ZEO.DB((host, int(port)), storage=asked["storage"], wait_timeout=30)


def has_values(tree):
    return tree["shape"] in ("BTree", "Bucket")


def change(root, tree):
    module = __import__("BTrees.%sBTree" % tree["family"], {}, {}, ["x"])
    cls = getattr(module, tree["family"] + tree["shape"])
    if tree["name"] not in root:
        root[tree["name"]] = cls()
    found = root[tree["name"]]
    assert type(found) is cls
    for key, value in tree["set"]:
        if has_values(tree):
            found[key] = value
        else:
            found.add(key)
    for key in tree["remove"]:
        if key not in found:
            continue
        if has_values(tree):
            del found[key]
        else:
            found.remove(key)


def look(root, tree):
    found = root[tree["name"]]
    if tree["shape"] in ("BTree", "TreeSet"):
        found._check()
    check(found)
    if has_values(tree):
        assert dict(found) == {key: found[key] for key in found}
        return [[key, value] for key, value in found.items()]
    return [[key, None] for key in found]


def main():
    asked = json.load(sys.stdin)
    db = opened(asked)
    with db.transaction() as connection:
        for tree in asked["trees"]:
            change(connection.root(), tree)
    with db.transaction() as connection:
        connection.cacheMinimize()
        said = [look(connection.root(), tree) for tree in asked["trees"]]
    db.close()
    json.dump(said, sys.stdout)


main()
