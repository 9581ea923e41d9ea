"""A genuine client that changes blobs in the root and says what is in them.

Reads {"file": path} or {"server": "host:port", "storage"}, and "blobs": the directory of blobs, "shared": whether it
is the server's; "set": {name: text}, "import": path of an export file or null, "export": path or null. A blob that is
missing is made. "export" is given the root's object "exported", and "import" becomes the root's object "imported",
both mappings with blobs. Prints {"blobs": {name: text}, "imported": {name: text}} as another connection finds them.
"""
import json
import sys

import ZEO
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage


def opened(asked):
    if "file" in asked:
        return ZODB.DB(FileStorage(asked["file"], blob_dir=asked["blobs"]))
    host, _, port = asked["server"].rpartition(":")
    return ZEO.DB(
        (host, int(port)),
        storage=asked["storage"],
        wait_timeout=30,
        blob_dir=asked["blobs"],
        shared_blob_dir=asked["shared"],
    )


def change(root, wanted):
    for name, text in wanted.items():
        if name not in root:
            root[name] = Blob()
        with root[name].open("w") as file:
            file.write(text.encode())


def texts(mapping):
    found = {}
    for name, blob in mapping.items():
        if isinstance(blob, Blob):
            with blob.open() as file:
                found[name] = file.read().decode()
    return found


def main():
    asked = json.load(sys.stdin)
    db = opened(asked)
    with db.transaction() as connection:
        root = connection.root()
        change(root, asked["set"])
        if asked["import"]:
            root["imported"] = connection.importFile(asked["import"])
    with db.transaction() as connection:
        connection.cacheMinimize()
        root = connection.root()
        if asked["export"]:
            exported = PersistentMapping({"number": 5, "film": Blob(b"their film")})
            exported["self"] = exported
            root["exported"] = exported
            connection.transaction_manager.commit()
            connection.exportFile(exported._p_oid, asked["export"]).close()
        said = {"blobs": texts(root), "imported": texts(root.get("imported", {}))}
        if "imported" in root:
            assert root["imported"]["self"] is root["imported"]
    db.close()
    json.dump(said, sys.stdout)


main()
