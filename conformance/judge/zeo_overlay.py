"""Genuine clients of a server whose storage is an overlay over a base with blobs.

Standard input: {"server": "host:port", "folder": an empty directory, "undoes": whether the changes can be undone}.
With "base" and "blobs" in the place of "server" the base is made. Standard output: what was seen, step by step.
"""

import json
import os
import sys

import transaction
import ZEO
import ZODB.FileStorage
from ZODB.blob import Blob


def make_base(path, blobs):
    database = ZODB.DB(ZODB.FileStorage.FileStorage(path, blob_dir=blobs))
    manager = transaction.TransactionManager()
    root = database.open(manager).root()
    for name in ("changed", "kept"):
        root[name] = Blob(b"base " + name.encode())
    manager.commit()
    database.close()


class Client:
    def __init__(self, server, directory):
        os.makedirs(directory, exist_ok=True)
        self.database = ZEO.DB(server, blob_dir=directory, wait_timeout=30)
        self.manager = transaction.TransactionManager()
        self.root = self.database.open(self.manager).root()

    def refresh(self):
        self.database.storage.ping()
        self.manager.begin()

    def write(self, name, text):
        self.refresh()
        if name not in self.root:
            self.root[name] = Blob()
        with self.root[name].open("w") as file:
            file.write(text.encode())
        self.manager.get().note(text)
        return self.commit()

    def commit(self):
        """Says how it went."""
        try:
            self.manager.commit()
        except Exception as error:
            self.manager.abort()
            return type(error).__name__
        return "committed"

    def undo_last(self):
        return self.undo(self.database.undoInfo(0, 1)[0])

    def undo(self, entry):
        self.refresh()
        self.database.undo(entry["id"], self.manager.get())
        return self.commit()

    def read_all(self):
        self.refresh()
        found = {}
        for name, blob in sorted(self.root.items()):
            with blob.open("r") as file:
                found[name] = file.read().decode()
        return found


def main():
    wanted = json.load(sys.stdin)
    if "base" in wanted:
        make_base(wanted["base"], wanted["blobs"])
        return print("null")
    host, _, port = wanted["server"].rpartition(":")
    clients = [
        Client((host, int(port)), os.path.join(wanted["folder"], name)) for name in ("a", "b")]
    one, other = clients
    seen = []

    def look(step):
        # Others have to see the same, and who comes later with nothing in the cache.
        late = Client((host, int(port)), os.path.join(wanted["folder"], f"late{len(seen)}"))
        found = late.read_all()
        late.database.close()
        assert one.read_all() == other.read_all() == found, step
        seen.append([step, found])

    look("begin")
    one.write("changed", "two")
    look("changed")
    other.write("changed", "three")
    other.write("new", "new")
    look("changed again, and made another")
    if wanted["undoes"]:
        for step in range(6):
            # The creation, its undo, the creation again; then each undo takes back the one before it.
            look(f"undo {step}: {clients[step % 2].undo_last()}")
        look(f"the creation is gone: {one.undo_last()}")
        changes = [entry for entry in one.database.undoInfo(0, 100) if entry["description"]]
        for entry in changes[1:3]:
            look(f"undo of {entry['description']}: {one.undo(entry)}")
        look(f"and back: {other.undo_last()}")
        look(f"and forth: {other.undo_last()}")
    look(f"at last: {one.write('changed', 'at last')}")
    for client in clients:
        client.database.close()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
