"""Blobs of a Data.fs in the hands of genuine ZODB.

Standard input: {"data": path, "blobs": directory, "layout": name, "steps": [[verb, ...], ...]}. The verbs:
["create", name], ["change", name, text], ["undo", tid] ("last" for the last transaction), ["pack"].
Standard output: {"files": [[oid, tid, text], ...], "current": {name: text}, "orphans": [path, ...]}: every
revision of a blob that iteration shows with its file, what a connection reads, and files that
belong to no record.
"""

import base64
import json
import os
import sys
import time

import transaction
from ZODB.blob import Blob
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.utils import u64


class Database:
    def __init__(self, data, blobs, layout):
        if not os.path.exists(data):
            # Where it makes the file it removes the directory.
            FileStorage(data).close()
        if not os.path.exists(blobs):
            os.mkdir(blobs)
            with open(os.path.join(blobs, ".layout"), "w") as marker:
                marker.write(layout)
        self.storage = FileStorage(data, blob_dir=blobs)
        assert self.storage.fshelper.layout_name == layout
        self.database = DB(self.storage)
        self.connection = self.database.open()
        self.root = self.connection.root()

    def write(self, name, text):
        with self.root[name].open("w") as file:
            file.write(text.encode())
        transaction.commit()

    def create(self, name):
        self.root[name] = Blob()
        self.write(name, "new")

    change = write

    def undo(self, tid):
        if tid == "last":
            tid = self.storage.lastTransaction()
        else:
            tid = int(tid).to_bytes(8, "big")
        self.database.undo(base64.encodebytes(tid).rstrip())
        transaction.commit()

    def pack(self):
        self.database.pack(time.time() + 1)

    def current(self):
        transaction.begin()
        found = {}
        for name, blob in self.root.items():
            if not isinstance(blob, Blob):
                continue
            with blob.open("r") as file:
                found[name] = file.read().decode()
        return found

    def files(self):
        found = []
        for written in self.storage.iterator():
            for record in written:
                if self.storage.is_blob_record(record.data):
                    path = self.storage.loadBlob(record.oid, record.tid)
                    with open(path) as file:
                        found.append([u64(record.oid), u64(record.tid), file.read()])
        return sorted(found)

    def orphans(self, files):
        known = {(oid, tid) for oid, tid, _ in files}
        helper, found = self.storage.fshelper, []
        for oid, directory in helper.listOIDs():
            for name in os.listdir(directory):
                path = os.path.join(directory, name)
                of_oid, tid = helper.splitBlobFilename(path)
                if tid is None or (u64(of_oid), u64(tid)) not in known:
                    found.append(path)
        found += os.listdir(helper.temp_dir)
        return found


def main():
    wanted = json.load(sys.stdin)
    database = Database(wanted["data"], wanted["blobs"], wanted["layout"])
    for verb, *arguments in wanted["steps"]:
        getattr(database, verb)(*arguments)
    files = database.files()
    said = {
        "files": files,
        "current": database.current(),
        "orphans": database.orphans(files),
    }
    database.database.close()
    print(json.dumps(said))


if __name__ == "__main__":
    main()
