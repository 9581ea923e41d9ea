"""What the genuine BTrees do with given programs of operations.

Reads {"programs": [{"family", "shape", "sizes": [leaf, internal] or null, "steps": [...]}]}. Prints, for each,
the outcome of every step, the records that each commit stored, by object, and how many commits were sound: a
tree that the original itself damages is not followed further.
"""
import base64
import json
import struct
import sys

import transaction
import ZODB
from BTrees.check import check
from persistent.mapping import PersistentMapping
from ZODB.MappingStorage import MappingStorage

OTHERS = 3


class Recording(MappingStorage):
    """Keeps what one transaction stores."""

    def __init__(self):
        super().__init__()
        self.stored = {}

    def store(self, oid, serial, data, version, txn):
        self.stored[oid.hex()] = base64.b64encode(data).decode()
        return super().store(oid, serial, data, version, txn)


def decoder(others):
    def decode(data):
        kind = data[0]
        if kind == "n":
            return None
        if kind == "B":
            return data[1]
        if kind == "i":
            return int(data[1])
        if kind == "f":
            return struct.unpack(">d", bytes.fromhex(data[1]))[0]
        if kind == "s":
            return data[1]
        if kind == "b":
            return base64.b64decode(data[1])
        if kind == "t":
            return tuple(decode(part) for part in data[1])
        if kind == "l":
            return [decode(part) for part in data[1]]
        if kind == "d":
            return {decode(key): decode(value) for key, value in data[1]}
        assert kind == "r"
        return others[data[1]]

    return decode


def act(tree, what, args, is_mapping):
    if what == "set":
        tree[args[0]] = args[1]
    elif what == "insert":
        return bool(tree.insert(*args))
    elif what == "setdefault":
        tree.setdefault(*args)
    elif what == "add":
        return bool(tree.add(*args))
    elif what == "remove":
        tree.pop(*args) if is_mapping else tree.remove(*args)
    elif what == "has":
        return args[0] in tree
    else:
        assert what == "clear"
        tree.clear()
    return "ok"


def listed(tree, is_mapping):
    return list(tree.items()) if is_mapping else list(tree.keys())


def is_sound(db, oid, shape, expected):
    """Whether another connection finds all that is there, in a sound tree."""
    is_mapping = shape in ("BTree", "Bucket")
    with db.transaction() as connection:
        tree = connection.get(oid)
        try:
            if "Tree" in shape:
                tree._check()
                check(tree)
            found = listed(tree, is_mapping)
        except Exception:
            return False
        return len(found) == len(expected) and repr(found) == repr(expected)


def plain(items):
    """References are other objects in another connection."""
    return repr(items).count(" at 0x") == 0


def run(program):
    storage = Recording()
    db = ZODB.DB(storage)
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    others = [PersistentMapping() for _ in range(OTHERS)]
    for other in others:
        connection.add(other)
    decode = decoder(others)
    family, shape = program["family"], program["shape"]
    module = __import__("BTrees.%sBTree" % family, {}, {}, ["x"])
    cls = getattr(module, family + shape)
    usual = None
    if program["sizes"] and "Tree" in shape:
        usual = cls.max_leaf_size, cls.max_internal_size
        cls.max_leaf_size, cls.max_internal_size = program["sizes"]
    is_mapping = shape in ("BTree", "Bucket")
    tree = cls()
    connection.add(tree)
    manager.commit()
    oid = tree._p_oid
    outcomes, commits, sound = [], [], 0
    for what, *args in program["steps"]:
        outcome = "ok"
        if what == "commit":
            expected = listed(tree, is_mapping)
            storage.stored = {}
            manager.commit()
            commits.append(storage.stored)
            if plain(expected) and not is_sound(db, oid, shape, expected):
                break
            sound += 1
            if args[0]:
                connection.cacheMinimize()
        elif what == "save":
            manager.savepoint()
        elif what == "abort":
            manager.abort()
        else:
            try:
                outcome = act(tree, what, [decode(arg) for arg in args], is_mapping)
            except (KeyError, TypeError, ValueError) as error:
                outcome = type(error).__name__
        outcomes.append(outcome)
    if usual:
        cls.max_leaf_size, cls.max_internal_size = usual
    manager.abort()
    connection.close()
    db.close()
    return {"outcomes": outcomes, "commits": commits, "sound": sound}


def main():
    asked = json.load(sys.stdin)
    json.dump([run(program) for program in asked["programs"]], sys.stdout)


main()
