"""Two genuine ZEO clients that change the same objects at the same time.

Standard input: {"server": "host:port"}. The classes' own rules for merging must not run here: whoever calls
them is counted. Standard output: what became of the changes.
"""

import json
import sys

import transaction
import ZEO
from BTrees.IIBTree import IITreeSet
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree, OOBucket
from persistent import Persistent
from persistent.mapping import PersistentMapping
from ZEO.ClientStorage import ClientStorage
from ZODB.POSException import ConflictError

merged_here = []
original = ClientStorage.tryToResolveConflict


def counted(self, oid, *args, **kw):
    merged_here.append(oid)
    return original(self, oid, *args, **kw)


ClientStorage.tryToResolveConflict = counted


class Notes(Persistent):
    """A class that no server has."""

    def __init__(self):
        self.notes = ()

    def _p_resolveConflict(self, old, committed, new):
        committed["notes"] += new["notes"]
        return committed


class Client:
    def __init__(self, server):
        host, _, port = server.rpartition(":")
        self.database = ZEO.DB((host, int(port)), wait_timeout=30, server_sync=True)
        self.manager = transaction.TransactionManager()
        self.connection = self.database.open(self.manager)
        self.root = self.connection.root()


def both(one, two, change):
    """Both change before either commits; then both see the other's change, or the error."""
    clients = one, two
    for client in clients:
        client.manager.begin()
    for number, client in enumerate(clients):
        change(client.root, number)
    one.manager.commit()
    try:
        two.manager.commit()
        return "merged"
    except ConflictError as error:
        two.manager.abort()
        return type(error).__name__
    finally:
        for client in clients:
            client.manager.begin()


def main():
    server = json.load(sys.stdin)["server"]
    one = Client(server)
    one.manager.begin()
    root = one.root
    root["tree"] = OOBTree({"key %02d" % at: "value" for at in range(10)})
    root["bucket"] = OOBucket({"a": root["tree"], "b": None})
    root["set"] = IITreeSet([1, 2, 3])
    root["length"] = Length(5)
    root["mapping"] = PersistentMapping(a=1)
    root["notes"] = Notes()
    one.manager.commit()
    two = Client(server)
    said = {}

    def insert(root, number):
        root["tree"]["other %d" % number] = number
        root["bucket"]["c%d" % number] = root["tree"]
        root["set"].add(10 + number)
        root["length"].change(3 + number)

    said["insert"] = both(one, two, insert)
    for client in one, two:
        root = client.root
        found = [sorted(root["tree"])[-2:], list(root["bucket"]), list(root["set"]), root["length"]()]
        assert found == [
            ["other 0", "other 1"], ["a", "b", "c0", "c1"], [1, 2, 3, 10, 11], 12,
        ], found
        assert root["bucket"]["c0"] is root["bucket"]["c1"] is root["tree"]
    said["same key"] = both(one, two, lambda root, number: root["tree"].update({"same": number}))
    said["mapping"] = both(one, two, lambda root, number: root["mapping"].update({number: 1}))
    said["merged here"] = len(merged_here)

    def note(root, number):
        root["notes"].notes += (number,)
        root["length"].change(1)

    said["notes"] = both(one, two, note)
    said["notes found"] = [list(client.root["notes"].notes) for client in (one, two)]
    said["length"] = two.root["length"]()
    said["notes merged here"] = len(merged_here)

    # Undone although others came later: what they did stays.
    def write(number):
        one.root["tree"]["undo %d" % number] = number
        one.root["length"].change(100 * number)
        one.manager.commit()

    write(1)
    undone = one.database.undoInfo(0, 1)[0]["id"]
    write(2)
    one.database.undo(undone, one.manager.get())
    one.manager.commit()
    one.manager.begin()
    two.manager.begin()
    said["undone"] = [
        [[key for key in client.root["tree"] if key.startswith("undo")], client.root["length"]()]
        for client in (one, two)
    ]
    # For a tool.
    write(3)
    said["tid"] = one.root["length"]._p_serial.hex()
    write(4)
    for client in one, two:
        client.connection.close()
        client.database.close()
    json.dump(said, sys.stdout)


main()
