"""Conflicts of the BTrees family, and what the genuine ZODB makes of them.

Reads {"seed": ..., "count": ..., "python": whether the classes are those written in Python}. Prints one JSON
value: a list of cases, each with the class, the three records, and either the merged record or the name of the
error and, for BTreesConflictError, its number.
"""
import base64
import json
import logging
import random
import sys
from io import BytesIO

import BTrees
from BTrees.Interfaces import BTreesConflictError
from BTrees.Length import Length
from persistent.mapping import PersistentMapping
from persistent.wref import WeakRef
from ZODB import ConflictResolution
from ZODB._compat import PersistentPickler
from ZODB.POSException import ConflictError
from zodbpickle import binary

FAMILIES = (
    "OO OI OU OL OQ IO II IU IF UO UI UU UF LO LL LQ LF QO QL QQ QF fs"
).split()
SHAPES = ["Bucket", "Set", "BTree", "TreeSet"]
BITS = {"I": (-(2**31), 2**31 - 1), "U": (0, 2**32 - 1), "L": (-(2**63), 2**63 - 1), "Q": (0, 2**64 - 1)}


class Reference:
    """Stands for a persistent object; it is pickled as this persistent id."""

    def __init__(self, data):
        self.data = data


def persistent_id(value):
    return value.data if type(value) is Reference else None


def dump(meta, state):
    out = BytesIO()
    pickler = PersistentPickler(persistent_id, out, 3)
    pickler.dump(meta)
    pickler.dump(state)
    return out.getvalue()


# What the names end with of the classes that are written in Python, where those are wanted.
SUFFIX = ""


def klass(family, shape):
    module = __import__("BTrees.%sBTree" % family, {}, {}, ["x"])
    return getattr(module, family + shape + SUFFIX)


def oid(rng):
    number = rng.choice([1, 2, 3, 200, 2**40 + 5])
    return binary(number.to_bytes(8, "big"))


def reference(rng):
    # What is equal is not always the same: the class may be missing, and the database be named.
    return Reference(rng.choice([
        lambda: (oid(rng), PersistentMapping),
        lambda: (oid(rng), PersistentMapping),
        lambda: (oid(rng), None),
        lambda: oid(rng),
        lambda: ["m", ("other", oid(rng), PersistentMapping)],
        lambda: ["n", ("other", oid(rng))],
        lambda: ["w", (oid(rng),)],
        lambda: ["w", (oid(rng), "other")],
        lambda: [oid(rng)],
    ])())


def text(rng):
    alphabet = "abz\xe9\u20ac\U0001f600"
    return "".join(rng.choice(alphabet) for _ in range(rng.choice([0, 1, 1, 2, 3, 9])))


def number(rng):
    return rng.choice([
        rng.randrange(-3, 9), rng.randrange(-300, 70000), True, False, 2**31, 2**63, -(2**63), 2**64 + 1,
        -(2**70), 0.5, -1.5, 2.0**63, 2.0**64, 1e300, float("inf"), -float("inf"), -0.0, 3.0,
    ])


def atom(rng):
    return rng.choice([
        lambda: text(rng), lambda: text(rng), lambda: text(rng).encode(), lambda: number(rng), lambda: None,
        lambda: bytearray(text(rng).encode()),
    ])()


def some_object(rng, depth=2):
    if depth == 0 or rng.random() < 0.6:
        return reference(rng) if rng.random() < 0.3 else atom(rng)
    parts = [some_object(rng, depth - 1) for _ in range(rng.randrange(4))]
    kind = rng.randrange(5)
    if kind == 0:
        return parts
    if kind == 1:
        return {text(rng): part for part in parts}
    if kind == 2:
        # More items than one would be written in an order that their addresses decide.
        return set([rng.randrange(5)][: rng.randrange(2)])
    return tuple(parts)


def object_keys(rng, count):
    make = rng.choice([
        lambda: text(rng),
        lambda: "key %d" % rng.randrange(60),
        lambda: "%c" % rng.randrange(97, 123),
        lambda: text(rng).encode(),
        lambda: bytes([rng.randrange(256)]),
        lambda: number(rng),
        lambda: (text(rng), rng.randrange(5)),
        lambda: (number(rng), (text(rng),)),
        lambda: rng.choice([None, text(rng)]),
        lambda: [rng.randrange(9)],
        lambda: bytearray([rng.randrange(9)]),
        lambda: frozenset([rng.randrange(5)]),
        lambda: atom(rng),
        lambda: reference(rng),
    ])
    found = []
    for _ in range(count):
        key = make()
        try:
            if all(key is not other and key != other for other in found):
                found.append(key)
        except TypeError:
            pass
    try:
        found.sort(key=lambda key: (key is not None, key))
    except TypeError:
        pass
    return found


def keys(rng, letter, count):
    if letter == "O":
        return object_keys(rng, count)
    if letter == "fs":
        return sorted({bytes([rng.randrange(4), rng.randrange(256)]) for _ in range(count)})
    low, high = BITS[letter]
    near = rng.choice([low, high - 60, max(low, -30), 0, 200, 65500])
    return sorted({rng.randrange(near, near + 60) for _ in range(count)})


def value_maker(rng, letter):
    if letter == "fs":
        return lambda: rng.choice([b"abcdef", b"abcdeg", b"\0\0\0\0\0\xff"])
    if letter == "O":
        return rng.choice([
            lambda: rng.randrange(4), lambda: text(rng), lambda: number(rng), lambda: atom(rng),
            lambda: (text(rng), rng.randrange(3)), lambda: some_object(rng), lambda: reference(rng),
            lambda: Reference((oid(rng), PersistentMapping)),
            lambda: {"a": rng.randrange(2)}, lambda: [rng.randrange(3)],
        ])
    if letter == "F":
        return lambda: rng.choice([0, 1, 0.1, 1.5, 1e39, -0.0, 2**40 + 1, float("nan"), True])
    low, high = BITS[letter]
    return lambda: rng.choice([0, 1, 2, True, 255, 256, low, high])


def change(rng, items, spare, value, sort):
    """A copy of the items with a few changes, mostly good ones."""
    items = list(items)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        what = rng.random()
        if what < 0.5 and spare:
            key = rng.choice(spare)
            if all(key is not other[0] for other in items):
                items.append((key, value()))
                items = sort(items)
        elif what < 0.75 and items:
            del items[rng.choice([0, -1, rng.randrange(len(items)), rng.randrange(len(items))])]
        elif items:
            at = rng.randrange(len(items))
            items[at] = (items[at][0], value())
    if rng.random() < 0.02:
        items = []
    return items


def bucket_state(rng, items, has_values, following):
    if has_values:
        flat = tuple(part for item in items for part in item)
        if rng.random() < 0.01:
            flat += (1,)
    else:
        flat = tuple(key for key, _ in items)
    return (flat,) if following is None else (flat, following)


def wrong(rng, state):
    return rng.choice([
        None, (), 1, "state", (state,), (state, state), ((state,),), {"a": 1}, [state], state + state,
        ((1, "a", None, b"x"),), ((), None),
    ])


def family_case(rng):
    family = rng.choice(FAMILIES)
    shape = rng.choice(SHAPES)
    key, value = ("fs", "fs") if family == "fs" else family
    has_values = shape in ("Bucket", "BTree")
    count = rng.choice([1, 2, 3, 4, 6, 12, 40])
    all_keys = keys(rng, key, count * 2)
    make = value_maker(rng, value)
    order = {id(k): at for at, k in enumerate(all_keys)}

    def sort(items):
        return sorted(items, key=lambda item: order[id(item[0])])

    chosen = sorted(rng.sample(range(len(all_keys)), min(count, len(all_keys))))
    old = [(all_keys[at], make()) for at in chosen]
    spare = [k for at, k in enumerate(all_keys) if at not in chosen]
    following = None
    if rng.random() < 0.3:
        following = Reference((oid(rng), klass(family, shape)))
    states = []
    for at, items in enumerate([
        old, change(rng, old, spare, make, sort), change(rng, old, spare, make, sort),
    ]):
        next_bucket = following
        if rng.random() < 0.02:
            next_bucket = Reference((oid(rng), klass(family, shape)))
        state = bucket_state(rng, items, has_values, next_bucket)
        if shape.startswith("T") or shape == "BTree":
            state = ((state,),)
            if rng.random() < 0.02:
                state = (((reference(rng), 5, reference(rng)), reference(rng)))
        if rng.random() < 0.01:
            state = wrong(rng, state)
        states.append(state)
    cls = klass(family, shape)
    meta = rng.choice([cls] * 8 + [(cls, None), ((cls.__module__, cls.__name__), None), (cls, ())])
    return cls, meta, states


def length_case(rng):
    make = rng.choice([
        lambda: rng.randrange(1000), lambda: number(rng), lambda: number(rng),
        lambda: rng.choice([number(rng), "a", None, (1,), reference(rng)]),
    ])
    return Length, Length, [make() for _ in range(3)]


class Storage:
    """As much of one as tryToResolveConflict asks for."""

    def __init__(self, records):
        self.records = records

    _crs_untransform_record_data = _crs_transform_record_data = staticmethod(lambda record: record)

    def loadSerial(self, oid, serial):
        return self.records[serial]


class Reasons(logging.Handler):
    """The error itself is only logged: its name, and its number as text where it has one."""

    name = text = None

    def emit(self, record):
        if record.exc_info:
            self.name, self.text = record.exc_info[0].__name__, str(record.exc_info[1])
        else:
            _, self.name, self.text = record.args


REASONS = Reasons()
BTreesConflictError.__str__ = lambda error: str(error.reason)


def outcome(old, committed, new):
    storage = Storage({b"old": old, b"committed": committed})
    try:
        merged = ConflictResolution.tryToResolveConflict(storage, b"\0" * 8, b"committed", b"old", new)
    except ConflictError:
        has_number = REASONS.name == BTreesConflictError.__name__
        return {"error": REASONS.name, "code": int(REASONS.text) if has_number else None}
    return {"merged": base64.b64encode(merged).decode()}


# Old names, strings of Python 2 and the like, which no pickler writes any more.
def by_hand():
    def records(class_line, *states):
        return [b"\x80\x02c" + class_line + b"\nq\x01.\x80\x02" + state + b"." for state in states]

    oo = b"BTrees.OOBTree\nOOBucket"
    yield records(b"BTrees._OOBTree\nOOBucket", b"U\x01aK\x01\x86\x85", b"U\x01aK\x01U\x01bK\x01t\x85".replace(b"U\x01aK", b"(U\x01aK", 1), b"(U\x01aK\x01U\x01cK\x01t\x85")
    yield records(oo, b"U\x02aaK\x01\x86\x85", b"(U\x02aaK\x01U\x02bbK\x01t\x85", b"(U\x02aaq\x02K\x01U\x02cch\x02t\x85")
    yield records(oo, b"U\x02aaK\x01\x86\x85", b"(U\x02aaK\x01U\x02b\xe9K\x01t\x85", b"(U\x02aaK\x01U\x02ccK\x01t\x85")
    for number in (5, 0x85):
        reference = b"(U\x08\0\0\0\0\0\0\0" + bytes([number]) + b"q\x02cBTrees._OOBTree\nOOBucket\nq\x03tQ"
        yield records(
            oo, b"U\x02aaK\x01\x86" + reference + b"\x86",
            b"(U\x02aaK\x01X\x02\0\0\0bbK\x01t" + reference + b"\x86",
            b"(X\x02\0\0\0aaK\x01U\x02cc" + reference + b"t" + reference + b"\x86",
        )
    yield [b"no pickle"] * 3
    yield records(oo, b"", b"", b"")
    yield records(b"persistent.mapping\nPersistentMapping", b"}", b"}", b"}")
    yield records(b"BTrees.Length\nLength", b"K\x05", b"L12L\n", b"I7\n")


def listen():
    """Hears of the reasons from now on."""
    logger = logging.getLogger("ZODB.ConflictResolution")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(REASONS)


def main():
    global SUFFIX
    asked = json.load(sys.stdin)
    SUFFIX = "Py" if asked["python"] else ""
    listen()
    rng = random.Random(asked["seed"])
    cases = []

    def case(name, old, committed, new):
        encoded = [base64.b64encode(record).decode() for record in (old, committed, new)]
        cases.append({"class": name, "records": encoded, **outcome(old, committed, new)})

    if not SUFFIX:
        for records in by_hand():
            case("by hand", *records)
    for _ in range(asked["count"]):
        cls, meta, states = length_case(rng) if rng.random() < 0.03 else family_case(rng)
        case(cls.__name__, *(dump(meta, state) for state in states))
    json.dump(cases, sys.stdout)


if __name__ == "__main__":
    main()
