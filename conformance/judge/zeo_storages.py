"""Genuine ZEO clients of two storages that one server has.

Standard input: {"server": "host:port", "folder": an empty directory, "shared": {storage: the server's own
directory of blobs}}. Standard output: what was seen, step by step, by the names of the steps; equal for all
servers that do it right.
"""

import json
import os
import socket
import struct
import sys
import time

import transaction
import ZEO
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.POSException import POSKeyError
from ZODB.utils import p64, z64

STORAGES = ("1", "2")


class Client:
    """A client of one storage that counts what it is told of others' changes."""

    def __init__(self, server, storage, directory, **options):
        os.makedirs(directory, exist_ok=True)
        self.database = ZEO.DB(
            server, storage=storage, blob_dir=directory, wait_timeout=30, **options)
        self.storage = self.database.storage
        self.told = 0
        adapter = self.database._mvcc_storage
        invalidate = adapter.invalidate

        def count(*args, **kwargs):
            self.told += 1
            return invalidate(*args, **kwargs)

        adapter.invalidate = count
        self.manager = transaction.TransactionManager()
        self.root = self.database.open(self.manager).root()

    def refresh(self):
        # What was sent before the answer has been applied when it is there.
        self.storage.ping()
        self.manager.begin()

    def write(self, name, value, note):
        self.refresh()
        self.root[name] = value
        self.manager.get().note(note)
        self.manager.commit()
        return self.storage.lastTransaction()

    def write_blob(self, name, text):
        self.refresh()
        if name not in self.root:
            self.root[name] = Blob()
        with self.root[name].open("w") as file:
            file.write(text.encode())
        self.manager.get().note(f"blob {text}")
        self.manager.commit()
        return self.root[name]._p_oid, self.storage.lastTransaction()

    def undo_last(self):
        self.refresh()
        undone = self.database.undoInfo(0, 1)[0]
        self.database.undo(undone["id"], self.manager.get())
        self.manager.commit()
        return undone["description"]

    def notes(self):
        return [entry["description"] for entry in self.database.undoInfo(0, 20)]

    def read(self, name):
        self.refresh()
        value = self.root.get(name)
        if isinstance(value, Blob):
            with value.open("r") as file:
                return file.read().decode()
        return value

    def revisions(self):
        return len(self.storage.history(z64, 100))

    def transactions(self):
        return [t.description.decode() for t in self.storage.iterator()]


def refused(call, *args):
    try:
        call(*args)
    except Exception as error:
        return type(error).__name__
    return None


def commit_and_undo(writers, readers, seen):
    for storage in STORAGES:
        told = {name: reader.told for name, reader in readers.items()}
        writers[storage].write("who", f"storage {storage}", f"write {storage}")
        for reader in readers.values():
            reader.refresh()
        seen[f"write {storage}"] = {
            "read": {name: reader.read("who") for name, reader in readers.items()},
            "told": {name: reader.told - told[name] for name, reader in readers.items()},
        }
    for storage in STORAGES:
        writers[storage].write("who", f"again {storage}", f"again {storage}")
    seen["notes"] = {name: writer.notes() for name, writer in writers.items()}
    seen["undone"] = writers["1"].undo_last()
    seen["after undo"] = {name: reader.read("who") for name, reader in readers.items()}
    other = writers["2"].database.undoInfo(0, 1)[0]["id"]
    writers["1"].refresh()
    writers["1"].database.undo(other, writers["1"].manager.get())
    seen["undo of another storage's"] = refused(writers["1"].manager.commit)
    writers["1"].manager.abort()
    seen["transactions"] = {name: reader.transactions() for name, reader in readers.items()}


def blobs(writers, readers, seen):
    made = {}
    for storage in STORAGES:
        writer = writers[storage]
        made[storage] = writer.write_blob("blob", f"one of {storage}")
        writer.write_blob("blob", f"two of {storage}")
    # The objects have the same number in both.
    seen["same oid"] = made["1"][0] == made["2"][0]
    seen["blobs"] = {name: reader.read("blob") for name, reader in readers.items()}
    seen["another storage's blob"] = refused(readers["2"].storage.loadBlob, *made["1"])
    writers["2"].undo_last()
    seen["blobs after undo"] = {name: reader.read("blob") for name, reader in readers.items()}
    return made


def pack(writers, readers, made, seen):
    histories = {name: reader.revisions() for name, reader in readers.items()}
    writers["1"].database.pack(time.time() + 1)
    seen["histories"] = {
        name: [histories[name], reader.revisions()] for name, reader in readers.items()}
    seen["old blobs"] = {name: refused(late(name).loadBlob, *made[name]) for name in STORAGES}
    writers["2"].database.pack(time.time() + 1)
    seen["histories of both"] = {name: reader.revisions() for name, reader in readers.items()}
    seen["old blobs of both"] = {
        name: refused(late(name).loadBlob, *made[name]) for name in STORAGES}
    seen["after packs"] = {name: reader.read("blob") for name, reader in readers.items()}


def late(storage):
    """A client that has nothing of that storage."""
    late.number += 1
    directory = os.path.join(late.folder, f"late{late.number}")
    found = ZEO.ClientStorage.ClientStorage(
        late.server, storage=storage, blob_dir=directory, wait_timeout=30)
    late.opened.append(found)
    return found


def together(writers, readers, seen):
    """One transaction over both, and two that are between vote and finish at a time."""
    manager = transaction.TransactionManager()
    roots = [writers[name].database.open(manager).root() for name in STORAGES]
    for root in roots:
        root["both"] = PersistentMapping(value=1)
    manager.commit()
    seen["both"] = {name: dict(reader.read("both")) for name, reader in readers.items()}

    held = transaction.Transaction()
    storage = writers["1"].storage
    storage.tpc_begin(held)
    record = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x01.\x80\x03}q\x02."
    storage.store(p64(1 << 40), z64, record, "", held)
    storage.tpc_vote(held)
    writers["2"].write("meanwhile", True, "meanwhile")
    seen["meanwhile"] = readers["2"].read("meanwhile")
    storage.tpc_finish(held)
    # The ids of new objects are each storage's own affair.
    seen["unknown"] = refused(readers["2"].storage.load, p64(1 << 40))
    seen["known"] = refused(readers["1"].storage.load, p64(1 << 40))


def ruok(server):
    """What those who watch are told of each storage."""
    with socket.create_connection(server, 30) as connection, connection.makefile("rb") as file:
        connection.sendall(b"\0\0\0\x04ruok")

        def frame():
            return file.read(struct.unpack(">I", file.read(4))[0])

        frame()
        return json.loads(frame())


def of_interest(status):
    return {key: status[key] for key in ("commits", "connections", "active_txns", "waiting")}


def main():
    wanted = json.load(sys.stdin)
    host, _, port = wanted["server"].rpartition(":")
    server = late.server = (host, int(port))
    folder = late.folder = wanted["folder"]
    late.number, late.opened = 0, []
    writers, readers, seen = {}, {}, {}
    for name in STORAGES:
        writers[name] = Client(server, name, os.path.join(folder, f"writer{name}"))
        # One reader shares the server's directory.
        if name in wanted["shared"]:
            readers[name] = Client(server, name, wanted["shared"][name], shared_blob_dir=True)
        else:
            readers[name] = Client(server, name, os.path.join(folder, f"reader{name}"))
    commit_and_undo(writers, readers, seen)
    made = blobs(writers, readers, seen)
    pack(writers, readers, made, seen)
    together(writers, readers, seen)
    seen["status"] = {name: of_interest(r.storage.server_status()) for name, r in readers.items()}
    seen["ruok"] = {name: of_interest(status) for name, status in ruok(server).items()}
    seen["unknown storage"] = refused(
        lambda: ZEO.ClientStorage.ClientStorage(server, storage="3", wait_timeout=0.5))
    for client in [*late.opened, *(c.database for c in (*writers.values(), *readers.values()))]:
        client.close()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
