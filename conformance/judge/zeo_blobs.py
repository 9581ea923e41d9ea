"""Genuine ZEO clients that keep blobs on a server: two with caches of their own, one that shares the directory.

Standard input: {"server": "host:port", "caches": an empty directory, "blobs": the server's directory,
"megabytes": how large a large blob is}. Standard output: {"seen": [[who, text], ...] in order, "staged":
what lies in tmp/ afterwards, "missing": the class of the error for a revision that is not there,
"packed": the same for one that a pack removed, "is_whole": whether the large blob came as it went}.
"""

import hashlib
import json
import os
import sys
import time

import transaction
import ZEO
from ZODB.blob import Blob
from ZODB.POSException import POSKeyError
from ZODB.utils import p64

MEGABYTE = bytes(range(256)) * 4096


class Client:
    def __init__(self, name, server, directory, **options):
        host, _, port = server.rpartition(":")
        os.makedirs(directory, exist_ok=True)
        self.name = name
        self.database = ZEO.DB((host, int(port)), blob_dir=directory, wait_timeout=30, **options)
        self.storage = self.database.storage
        self.manager = transaction.TransactionManager()
        self.root = self.database.open(self.manager).root()

    def refresh(self):
        self.storage.ping()
        self.manager.begin()

    def write(self, name, text):
        self.refresh()
        if name not in self.root:
            self.root[name] = Blob()
        with self.root[name].open("w") as file:
            file.write(text.encode())
        self.manager.commit()
        return self.root[name]

    def read(self, name):
        self.refresh()
        with self.root[name].open("r") as file:
            return file.read().decode()

    def undo_last(self):
        self.refresh()
        self.database.undo(self.database.undoInfo(0, 1)[0]["id"], self.manager.get())
        self.manager.commit()

    def abandon(self, name):
        """Brings a file as far as the vote, and takes it back."""
        self.refresh()
        with self.root[name].open("w") as file:
            file.write(b"never")
        self.manager.get().join(Refuses(self.manager))
        try:
            self.manager.commit()
        except Refused:
            self.manager.abort()
        else:
            raise SystemExit("it was committed")


class Refused(Exception):
    pass


class Refuses:
    """Votes after everybody else, and against it."""

    def __init__(self, manager):
        self.transaction_manager = manager

    def sortKey(self):
        return "~"

    def tpc_vote(self, transaction):
        raise Refused

    def abort(self, transaction):
        pass

    tpc_begin = commit = tpc_finish = tpc_abort = abort


def refused(load, *args):
    try:
        load(*args)
    except Exception as error:
        return type(error).__name__
    return None


def large(writer, reader, megabytes):
    writer.refresh()
    writer.root["large"] = Blob()
    with writer.root["large"].open("w") as file:
        for _ in range(megabytes):
            file.write(MEGABYTE)
    writer.manager.commit()
    reader.refresh()
    digest = hashlib.sha256()
    with reader.root["large"].open("r") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    expected = hashlib.sha256()
    for _ in range(megabytes):
        expected.update(MEGABYTE)
    return digest.digest() == expected.digest()


def main():
    wanted = json.load(sys.stdin)
    server, caches = wanted["server"], wanted["caches"]
    writer = Client("writer", server, os.path.join(caches, "writer"))
    reader = Client("reader", server, os.path.join(caches, "reader"))
    sharer = Client("sharer", server, wanted["blobs"], shared_blob_dir=True)
    clients = [writer, reader, sharer]
    seen = []

    def look():
        seen.extend([client.name, client.read("blob")] for client in clients)

    blob = writer.write("blob", "one")
    oid, first = blob._p_oid, blob._p_serial
    look()
    sharer.write("blob", "two")
    look()
    reader.write("blob", "")
    look()
    writer.undo_last()
    look()
    sharer.undo_last()
    look()
    writer.write("blob", "three")
    writer.abandon("blob")
    sharer.abandon("blob")
    look()
    result = {
        "missing": refused(reader.storage.loadBlob, oid, p64(7)),
        "is_whole": large(writer, reader, wanted["megabytes"]),
    }
    writer.refresh()
    del writer.root["large"]
    writer.manager.commit()
    writer.database.pack(time.time() + 1)
    look()
    # Out of the caches' way.
    late = Client("late", server, os.path.join(caches, "late"))
    result["packed"] = refused(late.storage.loadBlob, oid, first)
    clients.append(late)
    look()
    clients.pop(0).database.close()
    for client in clients:
        client.database.close()
    result["seen"] = seen
    result["staged"] = sorted(os.listdir(os.path.join(wanted["blobs"], "tmp")))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
