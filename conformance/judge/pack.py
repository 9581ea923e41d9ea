"""A genuine ZEO client that packs, while another one commits all the time.

Standard input: {"server": "host:port", "history": how many changes before the pack}. Standard output:
{"commits": how many were made meanwhile, "before", "after": sizes of the storage around the first
pack, "undo": what the undo log said during it, or null where it was too quick to ask}.
"""

import json
import sys
import threading
import time

import transaction
import ZEO
from persistent.mapping import PersistentMapping
from ZEO.Exceptions import ServerException
from ZEO.scripts import zeopack
from ZODB.POSException import POSKeyError


def check(condition, what):
    if not condition:
        raise SystemExit(what)


def connect(server):
    host, _, port = server.rpartition(":")
    return ZEO.DB((host, int(port)), wait_timeout=30)


class Writer(threading.Thread):
    """Counts as fast as it can, in objects that come and go."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.database = connect(server)
        self.commits = 0
        self.failure = None
        self.stop = threading.Event()

    def run(self):
        try:
            manager = transaction.TransactionManager()
            root = self.database.open(manager).root()
            while not self.stop.is_set():
                manager.begin()
                root["count"] = self.commits
                root["new"] = PersistentMapping(number=self.commits)
                manager.commit()
                self.commits += 1
        except Exception as error:  # told by the main thread
            self.failure = repr(error)

    def end(self):
        self.stop.set()
        self.join(60)
        check(self.failure is None, self.failure)
        self.database.close()


def size(database):
    """As the server says now."""
    return database.storage._call("get_info")["size"]


def make_history(root, manager, changes):
    """Objects that change, and some that are thrown away; what a pack must keep, it returns."""
    manager.begin()
    root["kept"] = PersistentMapping()
    manager.commit()
    for number in range(changes):
        manager.begin()
        root["kept"]["text"] = "x" * 1000 + str(number)
        root["garbage"] = PersistentMapping(number=number)
        manager.commit()
    garbage = root["garbage"]._p_oid
    manager.begin()
    del root["garbage"]
    manager.commit()
    return root["kept"]["text"], garbage


def ask_for_undo(database, packing):
    """What the undo log says while a pack runs."""
    while packing.is_alive():
        try:
            database.undoLog(0, 5)
        except ServerException as error:  # as from the original server
            class_, data = error.args
            check(class_ == "ZODB.POSException.UndoError", class_)
            return data["_reason"]
    return None


def main():
    wanted = json.load(sys.stdin)
    database = connect(wanted["server"])
    manager = transaction.TransactionManager()
    connection = database.open(manager)
    root = connection.root()
    text, garbage = make_history(root, manager, wanted["history"])
    before = size(database)

    writer = Writer(wanted["server"])
    writer.start()
    packing = threading.Thread(target=database.pack)
    packing.start()
    undo = ask_for_undo(database, packing)
    packing.join()
    after = size(database)
    check(after < before, "the pack took nothing away: %d, %d" % (before, after))
    first = writer.commits
    while writer.commits < first + 20 and writer.failure is None:
        time.sleep(0.01)

    # The script of the distribution, which comes as a reader.
    zeopack.main([wanted["server"]])
    # Who does not wait is answered at once; the size falls some time later.
    for number in range(50):
        manager.begin()
        root["kept"]["more"] = "y" * 10000 + str(number)
        manager.commit()
    grown = size(database)
    database.storage.pack(time.time(), wait=0)
    deadline = time.time() + 60
    while size(database) > grown - 300000 and time.time() < deadline:
        time.sleep(0.05)
    check(size(database) <= grown - 300000, "nobody packed who did not wait")
    writer.end()

    manager.begin()
    check(root["kept"]["text"] == text, "what is kept has changed")
    check(root["count"] == writer.commits - 1, "a commit is lost")
    fresh = connect(wanted["server"])
    try:
        fresh.storage.load(garbage)
        check(False, "garbage is there")
    except POSKeyError:
        pass
    fresh.close()
    check(len(database.undoLog(0, 5)) > 0, "the undo log works again")
    json.dump({
        "commits": writer.commits, "before": before, "after": after, "undo": undo,
    }, sys.stdout)


main()
