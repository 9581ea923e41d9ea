"""A genuine ZEO client that undoes, looks back and walks through what a server has.

Standard input: {"server": "host:port", "data": the server's file}. What the server says is compared
with what FileStorage says of the file. Standard output: {"transactions", "undoable", "refused"}:
how many there are, and what the client was told where an undo was refused.
"""

import json
import os
import sys
import tempfile
import time

import transaction
import ZEO
from persistent.mapping import PersistentMapping
from ZODB.FileStorage import FileStorage
from ZODB.POSException import MultipleUndoErrors, POSKeyError
from ZODB.utils import z64


def content(storage):
    """All transactions with all they hold."""
    return [
        (t.tid, t.status, t.user, t.description, dict(t.extension),
         [(r.oid, r.tid, r.data, r.data_txn) for r in t])
        for t in storage.iterator()
    ]


def check(condition, what):
    if not condition:
        raise SystemExit(what)


class Client:
    def __init__(self, server):
        host, _, port = server.rpartition(":")
        self.database = ZEO.DB((host, int(port)), wait_timeout=30)
        self.manager = transaction.TransactionManager()
        self.root = self.database.open(self.manager).root()

    def write(self, number, **more):
        self.manager.begin()
        self.manager.get().setUser("undo")
        self.manager.get().note("write %d" % number)
        self.manager.get().setExtendedInfo("number", number)
        self.root["undo"] = number
        self.root.update(more)
        self.manager.commit()

    def undo(self, *ids):
        self.manager.begin()
        try:
            self.database.undoMultiple(list(ids), self.manager.get())
            self.manager.commit()
        finally:
            self.manager.abort()
        self.manager.begin()

    def log(self, **wanted):
        return self.database.undoInfo(0, 1 << 20, wanted or None)


def change_and_undo(client, witness):
    """Undoes one, then two at once, then what cannot be undone."""
    for number in range(4):
        client.write(number)
    client.write(4, created=PersistentMapping())
    oid = client.root["created"]._p_oid
    log = client.log()
    check([entry["number"] for entry in log[:5]] == [4, 3, 2, 1, 0], "the log has another order")
    check(len(client.log(number=3)) == 1, "the filter finds something else")

    client.undo(log[0]["id"])
    check(client.root["undo"] == 3 and "created" not in client.root, "the undo shows nothing")
    try:
        client.database.storage.load(oid)
        raise SystemExit("an object is there whose creation was undone")
    except POSKeyError:
        pass
    client.undo(log[1]["id"], log[2]["id"])
    check(client.root["undo"] == 1, "the undo of two shows nothing")
    for _ in range(200):
        witness.manager.begin()
        if witness.root["undo"] == 1:
            break
        time.sleep(0.05)
    check(witness.root["undo"] == 1, "another client never heard of the undo")

    client.write(5)
    client.write(6)
    log = client.log()
    try:
        client.undo(log[1]["id"])
        raise SystemExit("an undo was not refused")
    except MultipleUndoErrors as error:
        refused = str(error)
    client.write(7)
    return refused


def compare(storage, path):
    """Nobody commits meanwhile: the server and the file tell the same."""
    original = FileStorage(path, read_only=True)
    found = content(storage)
    check(found == content(original), "iteration differs")
    # In msgpack, a list arrives as a tuple.
    undo_log = list(storage.undoLog(0, 1 << 20))
    check(undo_log == original.undoLog(0, 1 << 20), "the undo log differs")
    check(list(storage.history(z64, 1000)) == original.history(z64, 1000), "the history differs")
    check(storage.record_iternext() == original.record_iternext(), "record_iternext differs")
    middle = [t[0] for t in found][len(found) // 2:]
    check([t.tid for t in storage.iterator(middle[0])] == middle, "a span differs")
    original.close()
    with tempfile.TemporaryDirectory() as folder:
        copy = FileStorage(os.path.join(folder, "Copy.fs"))
        copy.copyTransactionsFrom(storage)
        check(content(copy) == found, "the copy differs")
        copy.close()
    return len(found)


def main():
    wanted = json.load(sys.stdin)
    client, witness = Client(wanted["server"]), Client(wanted["server"])
    check(client.database.supportsUndo(), "the server says that it has no undo")
    refused = change_and_undo(client, witness)
    undoable = len(client.log())
    transactions = compare(client.database.storage, wanted["data"])
    client.manager.abort()
    witness.manager.abort()
    print(json.dumps(
        {"transactions": transactions, "undoable": undoable, "refused": refused}))
    client.database.close()
    witness.database.close()


if __name__ == "__main__":
    main()
