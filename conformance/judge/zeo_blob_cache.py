"""A genuine ZEO client that uses a cache of blobs together with others.

Standard input: {"server": "host:port", "storage", "cache": a directory, "load": [oid, tid] in hex, "store":
a text}. It loads that blob, and stores one of its own. Standard output: {"loaded": its text, "was_there":
whether its file was in the cache before, "stored": [oid, tid] in hex}.
"""

import json
import os
import sys
import tempfile

from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

RECORD = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N."


def main():
    wanted = json.load(sys.stdin)
    host, _, port = wanted["server"].rpartition(":")
    storage = ClientStorage(
        (host, int(port)), storage=wanted["storage"], blob_dir=wanted["cache"], wait_timeout=30
    )
    oid, tid = (bytes.fromhex(text) for text in wanted["load"])
    was_there = os.path.exists(storage.fshelper.getBlobFilename(oid, tid))
    with open(storage.loadBlob(oid, tid)) as file:
        loaded = file.read()
    oid = storage.new_oid()
    handle, path = tempfile.mkstemp(dir=storage.temporaryDirectory())
    with os.fdopen(handle, "w") as file:
        file.write(wanted["store"])
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    storage.storeBlob(oid, z64, RECORD, path, "", transaction)
    storage.tpc_vote(transaction)
    tid = storage.tpc_finish(transaction)
    storage.close()
    print(json.dumps({"loaded": loaded, "was_there": was_there, "stored": [oid.hex(), tid.hex()]}))


if __name__ == "__main__":
    main()
