"""Opens what power losses left, many disks in one process.

Standard input: {"folders": [path, ...]}, each with a Data.fs and what else was on that disk. Each is
opened for writing, as its owner would after the loss. Standard output: for each folder {"error"}, where
FileStorage refuses the file, or {"digest", "transactions", "complaints"}: a digest of everything that
iteration shows (of each transaction its id; of each record the object, and the data or their
absence), how many transactions those are, and what fstest, fsrefs and the index had to say. Folders
that were opened are removed.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
import sys

from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.scripts import fsrefs
from ZODB.scripts import fstest
from ZODB.utils import load_current

ABSENT = b"\xff" * 8


def complaints(check, path):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            check(path)
        except Exception as error:
            out.write("%s: %s" % (type(error).__name__, error))
    return out.getvalue()


def content(storage):
    """The digest, how many transactions there are, and the last data of each object."""
    digest, transactions, current = hashlib.sha1(), 0, {}
    for transaction in storage.iterator():
        transactions += 1
        digest.update(b"t" + transaction.tid)
        for record in transaction:
            data = record.data
            size = ABSENT if data is None else len(data).to_bytes(8, "big")
            digest.update(b"r" + record.oid + size + (data or b""))
            current[record.oid] = (data, record.tid)
    return digest.hexdigest(), transactions, current


def indexed(storage, current):
    """Whether the index speaks of this file."""
    if sorted(storage._index.keys()) != sorted(current):
        return "the index has other objects; "
    for oid, expected in current.items():
        try:
            found = load_current(storage, oid)
        except POSKeyError:
            found = (None, expected[1])
        if found != expected:
            return "the index has another revision of %s; " % oid.hex()
    return ""


def blobs(storage, current):
    """Every blob that is current has its file."""
    said = ""
    for oid, (data, tid) in current.items():
        if data is not None and b"ZODB.blob" in data[:20]:
            path = storage.fshelper.getBlobFilename(oid, tid)
            if not os.path.exists(path):
                said += "no file of the blob %s; " % oid.hex()
            else:
                with open(path, "rb") as file:
                    if data.find(hashlib.sha1(file.read()).hexdigest().encode()) < 0:
                        said += "another file of the blob %s; " % oid.hex()
    return said


def refusal(error):
    return {"error": "%s: %s" % (type(error).__name__, error)}


def judge(folder):
    path = os.path.join(folder, "Data.fs")
    blob_dir = os.path.join(folder, "blobs")
    options = {"blob_dir": blob_dir} if os.path.exists(blob_dir) else {}
    try:
        storage = FileStorage(path, **options)
    except Exception as error:
        return refusal(error)
    try:
        digest, transactions, current = content(storage)
    except Exception as error:
        storage.close()
        return refusal(error)
    said = indexed(storage, current)
    if options:
        said += blobs(storage, current)
    storage.close()
    said += complaints(fstest.check, path) + complaints(fsrefs.main, path)
    return {"digest": digest, "transactions": transactions, "complaints": said}


def main():
    logging.disable(logging.CRITICAL)
    found = []
    for folder in json.load(sys.stdin)["folders"]:
        found.append(judge(folder))
        if "error" not in found[-1]:
            shutil.rmtree(folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
