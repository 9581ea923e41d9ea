"""A genuine ZEO client tries what it may do.

Standard input: {"server": "host:port", "ssl": the lines of an <ssl> section, "read_only_fallback": bool}.
Standard output: for each of "connect", "load", "commit", "undo", "pack" either "ok" or the exception's
class and text, and "read_only" and "supports_undo" as the storage says. What cannot be tried is missing.
"""

import json
import sys
import time

import transaction
import ZODB
from ZEO.Exceptions import ClientDisconnected
from ZODB.config import storageFromString


def outcome(action):
    try:
        action()
    except Exception as error:  # whatever it is, it is what the test asks for
        transaction.abort()
        return f"{type(error).__name__}: {error}"
    return "ok"


def main():
    wanted = json.load(sys.stdin)
    text = f"""%import ZEO
    <clientstorage>
      server {wanted["server"]}
      wait-timeout 3
      read-only-fallback {"on" if wanted["read_only_fallback"] else "off"}
      <ssl>
      {wanted["ssl"]}
      </ssl>
    </clientstorage>"""
    found = {}
    try:
        storage = storageFromString(text)
    except ClientDisconnected as error:
        json.dump({"connect": type(error).__name__}, sys.stdout)
        return
    found["connect"] = "ok"
    found["read_only"] = bool(storage.isReadOnly())
    found["supports_undo"] = bool(storage.supportsUndo())
    found["load"] = outcome(lambda: storage.load(b"\0" * 8, ""))
    found["pack"] = outcome(lambda: storage.pack(time.time() - 86400, None))
    if found["load"] != "ok":
        storage.close()
        json.dump(found, sys.stdout)
        return
    database = ZODB.DB(storage)
    connection = database.open()

    def commit():
        connection.root()["tries"] = connection.root().get("tries", 0) + 1
        transaction.commit()

    def undo():
        # Past the client's own look at what is supported.
        meta = transaction.get()
        storage.tpc_begin(meta)
        try:
            storage.undo(storage.undoLog(0, 1)[0]["id"], meta)
            storage.tpc_vote(meta)
            storage.tpc_finish(meta)
        finally:
            storage.tpc_abort(meta)

    found["commit"] = outcome(commit)
    if found["commit"] == "ok":
        found["undo"] = outcome(undo)
    json.dump(found, sys.stdout)
    transaction.abort()
    database.close()


if __name__ == "__main__":
    main()
