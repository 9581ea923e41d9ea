"""Judges a Data.fs with ZODB's own tools.

Standard input: {"path", "folders": [path, ...]}. Standard output, as JSON: "fstest" and "fsrefs"
(what each complained of; empty when clean), "transactions" ([tid, user, description, [oid]]),
"counter" (the value of root()["counter"], or null), "folders" (the ids in each).
The file is first opened for writing, as its owner would: FileStorage then cuts off, without a word,
everything from the first transaction on that it cannot read or that lacks its final word. "cut"
says how many bytes that were.
"""

import contextlib
import io
import json
import os
import sys

from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.scripts import fsrefs
from ZODB.scripts import fstest


def complaints(check, path):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            check(path)
        except Exception as error:
            out.write("%s: %s" % (type(error).__name__, error))
    return out.getvalue()


def transactions(path):
    storage = FileStorage(path, read_only=True)
    found = []
    for transaction in storage.iterator():
        found.append(
            [
                transaction.tid.hex(),
                transaction.user.decode("utf-8", "replace"),
                transaction.description.decode("utf-8", "replace"),
                [record.oid.hex() for record in transaction],
            ]
        )
    storage.close()
    return found


def content(path, folders):
    database = DB(FileStorage(path, read_only=True))
    connection = database.open()
    root = connection.root()
    counter = root["counter"]["value"] if "counter" in root else None
    listing = {}
    for folder in folders:
        place = root["Application"]
        for name in filter(None, folder.split("/")):
            place = place._getOb(name)
        listing[folder] = [entry["id"] for entry in place._objects]
        for name in listing[folder]:
            place._getOb(name)._p_activate()
    connection.close()
    database.close()
    return counter, listing


def main():
    wanted = json.load(sys.stdin)
    path = wanted["path"]
    size = os.path.getsize(path)
    FileStorage(path).close()
    cut = size - os.path.getsize(path)
    # The index was saved just now by the original; the tools are to read the file itself.
    os.remove(path + ".index")
    counter, listing = content(path, wanted.get("folders", ()))
    print(
        json.dumps(
            {
                "cut": cut,
                "fstest": complaints(fstest.check, path),
                "fsrefs": complaints(fsrefs.main, path),
                "transactions": transactions(path),
                "counter": counter,
                "folders": listing,
            }
        )
    )


if __name__ == "__main__":
    main()
