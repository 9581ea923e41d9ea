"""Makes the golden files beside it: pickles by Python's and ZODB's own picklers, with what they mean.

Run it with a Python that has the packages of requirements.txt installed:

    python make.py path/to/Data.fs

Data.fs gives records.bin; without an argument only cases.tsv is made.
"""

import collections
import io
import pickle
import pickletools
import struct
import sys
import types
from importlib.metadata import version
from pathlib import Path

import zodbpickle.pickle

HERE = Path(__file__).parent
RECORD_BYTES_MAX = 8_000

# Classes that instances can be pickled of by name.
module = types.ModuleType("golden")
sys.modules["golden"] = module


def known(cls):
    cls.__module__ = "golden"
    cls.__qualname__ = cls.__name__
    setattr(module, cls.__name__, cls)
    return cls


@known
class Plain:
    pass


@known
class Listish(list):
    pass


@known
class Dictish(dict):
    pass


@known
class Stateless:
    def __reduce__(self):
        return Stateless, (1, "two")


@known
class Named:
    def __new__(cls, *args, **keywords):
        return object.__new__(cls)

    def __getnewargs_ex__(self):
        return (1,), {"key": 2}


@known
class Loop:
    """Its arguments contain itself, by way of a list."""

    def __init__(self, items):
        self.items = items

    def __reduce__(self):
        return Loop, (self.items,)


@known
class Reference:
    """Stands for a persistent object."""

    def __init__(self, oid):
        self.oid = oid


def show(value, path=()):
    """One spelling for each value, which the Rust test computes too."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return "f:" + struct.pack(">d", value).hex()
    if isinstance(value, str):
        return "s:" + value.encode("utf-8", "surrogatepass").hex()
    if isinstance(value, bytes):
        return "b:" + value.hex()
    if isinstance(value, bytearray):
        return "a:" + value.hex()
    if isinstance(value, type):
        return "<%s %s>" % (value.__module__, value.__qualname__)
    for depth, outer in enumerate(reversed(path)):
        if outer is value:
            return "^%d" % depth
    path += (value,)
    each = lambda items: ",".join(show(item, path) for item in items)
    pairs = lambda items: ",".join(show(k, path) + "=" + show(v, path) for k, v in items)
    if type(value) is tuple:
        return "(" + each(value) + ")"
    if type(value) is list:
        return "[" + each(value) + "]"
    if type(value) is dict:
        return "{" + pairs(value.items()) + "}"
    if type(value) in (set, frozenset):
        name = type(value).__name__
        return name + "(" + ",".join(sorted(show(item, path) for item in value)) + ")"
    return "?"


def shared():
    text, items = "shared text", ["shared"]
    return [text, text, items, items, (text, items)]


def own_list():
    items = []
    items.append(items)
    return items


def own_tuple(length):
    items = []
    value = (items,) * length
    items.append(value)
    return value


def own_dict():
    value = {}
    value["self"] = value
    return value


def own_instance():
    value = Plain()
    value.self = value
    value.pair = (value, value)
    return value


def loop():
    items = []
    value = Loop(items)
    items.append(value)
    return value


def filled(cls, **attributes):
    value = cls()
    vars(value).update(attributes)
    return value


def listish(count):
    value = Listish([None] * count)
    value.note = "after"
    return value


VALUES = {
    "none": None,
    "bools": [True, False],
    "ints": [0, 1, 255, 256, 65535, 65536, 2**31 - 1, -1, -(2**31)],
    "longs": [2**31, -(2**31) - 1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**100, -(2**100)],
    "long of 300 bytes": 1 << 2390,
    "floats": [0.0, -0.0, 1.5, -1e300, float("inf"), 1e-320, 0.1],
    "not a number": float("nan"),
    "text": ["", "plain", "line\nbreak", "back\\slash", "gr\u00fcn", "\u20ac", "\U0001f600", "'\""],
    "surrogates": ["\udcff", "a\ud800b"],
    "text of 300 bytes": "x" * 300,
    "bytes": [b"", b"\x00\xff", b"x" * 255, b"y" * 256],
    "byte array": [bytearray(b""), bytearray(b"abc")],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "lists": [[], [1], [1, 2], [[[]]]],
    "dicts": [{}, {"a": 1}, {"a": 1, "b": [2]}, {1: {2: {3: None}}}],
    "sets": [set(), {7}, frozenset(), frozenset([8])],
    "set of text": {"only"},
    "shared": shared(),
    "list in itself": own_list(),
    "dict in itself": own_dict(),
    "tuple of 1 in itself": own_tuple(1),
    "tuple of 3 in itself": own_tuple(3),
    "tuple of 4 in itself": own_tuple(4),
    "instance": filled(Plain, title="A", count=2),
    "instances of one class": [Plain(), filled(Plain, x=1), filled(Plain, x=2)],
    "instance in itself": own_instance(),
    "list subclass of 3": listish(3),
    "dict subclass": Dictish(a=1, b=2),
    "dict subclass of one": Dictish(a=1),
    "reduce": Stateless(),
    "class": Plain,
    "built-in class": collections.OrderedDict,
    "ordered dict": collections.OrderedDict(a=1),
    "complex": 1 + 2j,
}

# Python's own pickler treats a loop through arguments unlike zodbpickle's, which is older.
MEMO = [str(number) for number in range(260)]
ZODB_ONLY = {"many memo slots": MEMO + MEMO[250:], "loop through arguments": loop()}
ZODB_ONLY["list subclass of 1001"] = listish(1001)
for count in (999, 1000, 1001, 2000, 2001):
    ZODB_ONLY["list of %d" % count] = [None] * count
for count in (999, 1000, 1001, 2000):
    ZODB_ONLY["dict of %d" % count] = dict.fromkeys(range(count))
ZODB_ONLY["dict subclass of 1000"] = Dictish(dict.fromkeys(range(1000)))
ZODB_ONLY["dict subclass of 1001"] = Dictish(dict.fromkeys(range(1001)))

# What no pickler of today writes: name -> (pickle, meaning)
BY_HAND = {
    "INT": (b"(lI5\naI-7\naI00\naI01\naI99999999999\na.", [5, -7, False, True, 99999999999]),
    "LONG": (b"L12345678901234567890L\n.", 12345678901234567890),
    "FLOAT": (b"F-1.5\n.", -1.5),
    "STRING": (b"(lS'a\\x00\\n\\\\\\'b'\naS\"it's\"\na.", [b"a\x00\n\\'b", b"it's"]),
    "BINSTRING": (b"(lT\x03\x00\x00\x00abcaU\x02\xff\x00a.", [b"abc", b"\xff\x00"]),
    "UNICODE": (b"V\\u20ac\\\\u\xe9\n.", "\u20ac\\\\u\u00e9"),
    "PUT GET": (b"(lp7\ng7\na.", own_list()),
    "LONG_BINPUT": (b"]r\x00\x00\x01\x00j\x00\x00\x01\x00a.", own_list()),
    "LIST DICT TUPLE": (b"((I1\nI2\nl(I3\nI4\ndt.", ([1, 2], {3: 4})),
    "POP": (b"]NN0a.", [None]),
    "POP of a mark": (b"](0.", []),
    "POP_MARK": (b"](NNN1.", []),
    "DUP": (b"]2\x86.", ([], [])),
    "LONG1": (b"\x80\x02(\x8a\x00\x8a\x01\xff\x8a\x02\xff\x00t.", (0, -1, 255)),
    "LONG4": (b"\x80\x02\x8b\x02\x00\x00\x00\x00\x01.", 256),
    "BINUNICODE8": (b"\x80\x04\x8d\x02\x00\x00\x00\x00\x00\x00\x00hi.", "hi"),
    "BINBYTES8": (b"\x80\x04\x8e\x02\x00\x00\x00\x00\x00\x00\x00hi.", b"hi"),
    "APPENDS of nothing": (b"](e.", []),
    "SETITEMS of nothing": (b"}(u.", {}),
    "memo in two batches": (b"](NNe(NNeNa(Ne.", [None] * 6),
}

# Opcodes whose result Python cannot show without importing something: name -> (pickle, meaning in `show`'s spelling)
SPELLED = {
    "INST": (b"(I1\nigolden\nPlain\n.", "old(<golden Plain>,(1))"),
    "OBJ": (b"(cgolden\nPlain\nI1\no.", "old(<golden Plain>,(1))"),
    "EXT1": (b"\x80\x02\x82\x07.", "ext(7)"),
    "EXT2": (b"\x80\x02\x83\x01\x02.", "ext(513)"),
    "EXT4": (b"\x80\x02\x84\x01\x02\x03\x04.", "ext(67305985)"),
    "PERSID": (b"P42\n.", "persistent(s:3432)"),
    "BINPERSID": (b"C\x0242Q.", "persistent(b:3432)"),
    "NEWOBJ_EX": (
        b"\x80\x04cgolden\nNamed\n(K\x01t}X\x01\x00\x00\x00aK\x02s\x92.",
        "call(<copyreg __newobj_ex__>,(<golden Named>,(1),{s:61=2}))",
    ),
    "BUILD": (b"cgolden\nPlain\n)\x81}K\x01K\x02sb.", "new(<golden Plain>,(),{1=2})"),
    "NEXT_BUFFER": (b"\x80\x05\x97.", "refused"),
    "READONLY_BUFFER": (b"\x80\x05]\x98.", "refused"),
}


def zodb_dumps(value, fast=False):
    """As ZODB does it, with references by persistent id; as ZEO does it if `fast`."""
    file = io.BytesIO()
    pickler = zodbpickle.pickle.Pickler(file, 3)
    pickler.fast = fast
    pickler.persistent_id = lambda obj: (
        (obj.oid, type(obj)) if isinstance(obj, Reference) else None
    )
    pickler.dump(value)
    return file.getvalue()


def cases():
    """name, pickle, what ZODB writes for the value (or None), its spelling (or "-")"""
    for name, value in VALUES.items():
        zodb = zodb_dumps(value)
        yield name, "zodbpickle 3", zodb, zodb, show(value)
        if "itself" not in name:
            yield name, "zodbpickle fast", zodb_dumps(value, fast=True), None, show(value)
        for protocol in range(6):
            data = pickle.dumps(value, protocol, fix_imports=False)
            # Below 2 instances, and below 3 bytes, are calls of helpers: right, but not what ZODB would write.
            helped = protocol < 3 and (
                b"_codecs" in data or b"_reconstructor" in data or b"bytearray" in data
            )
            same = None if helped else zodb
            yield name, "pickle %d" % protocol, data, same, "-" if helped else show(value)
    for name, value in ZODB_ONLY.items():
        zodb = zodb_dumps(value)
        yield name, "zodbpickle 3", zodb, zodb, "-"
    one, two = Reference(b"\0" * 7 + b"\x01"), Reference(b"\0" * 7 + b"\x02")
    data = zodb_dumps([one, two, one])
    yield "references", "zodbpickle 3", data, data, "-"
    for name, (data, value) in BY_HAND.items():
        assert show(pickle.loads(data, encoding="bytes")) == show(value), name
        yield name, "by hand", data, None, show(value)
    for name, (data, spelling) in SPELLED.items():
        yield name, "by hand", data, None, spelling


def write_cases():
    seen = set()
    lines = []
    written = set()
    for name, maker, data, zodb, spelling in cases():
        # pickletools knows every opcode: none may be missing below.
        seen.update(opcode.name for opcode, _, _ in pickletools.genops(data))
        if (name, data) in written:
            continue
        written.add((name, data))
        if "?" in spelling:  # instances: the test has no spelling that Python could give
            spelling = "-"
        again = "-" if zodb is None else "same" if zodb == data else zodb.hex()
        lines.append("\t".join((name, maker, data.hex(), again, spelling)))
    missing = {opcode.name for opcode in pickletools.opcodes} - seen
    assert not missing, missing
    (HERE / "cases.tsv").write_text("\n".join(lines) + "\n", "ascii")


def write_records(path):
    from ZODB.FileStorage import FileIterator

    with open(HERE / "records.bin", "wb") as out:
        for transaction in FileIterator(path):
            for record in transaction:
                if record.data and len(record.data) <= RECORD_BYTES_MAX:
                    out.write(struct.pack(">I", len(record.data)) + record.data)


if __name__ == "__main__":
    for requirement in (HERE / "requirements.txt").read_text().split():
        name, wanted = requirement.split("==")
        assert version(name) == wanted, (name, version(name), wanted)
    assert sys.version_info[:2] == (3, 11), "the pickler of Python 3.11 is meant"
    write_cases()
    if len(sys.argv) > 1:
        write_records(sys.argv[1])
