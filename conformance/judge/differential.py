"""Genuine FileStorage, step by step.

Standard input: first {"path"}, then a step a line; standard output: an answer a line. Bytes are
hexadecimal text.

  {"do": "commit", "tid", "meta", "changes"}   {"error"}, null where it was committed
  {"do": "pack", "to", "gc"}                   {"error"}
  {"do": "reopen", "index", "keep"}            {}, with that file as the index, its own kept there
  {"do": "facts", "oids", "tids"}              everything that can be asked
"""

import hashlib
import json
import logging
import os
import shutil
import sys
from base64 import b64decode
from base64 import b64encode

from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.POSException import POSKeyError
from ZODB.POSException import ReadConflictError
from ZODB.POSException import UndoError
from ZODB.serialize import referencesf


def unhex(text):
    return None if text is None else bytes.fromhex(text)


def short(data):
    return None if data is None else hashlib.sha1(data).hexdigest()


def hexed(data):
    return None if data is None else data.hex()


class Judge:
    def __init__(self, path):
        self.path = path
        self.storage = FileStorage(path)

    def change(self, transaction, kind, *arguments):
        storage = self.storage
        arguments = [unhex(argument) for argument in arguments]
        if kind == "store":
            oid, base, data = arguments
            storage.store(oid, base, data, "", transaction)
        elif kind == "check":
            storage.checkCurrentSerialInTransaction(*arguments, transaction)
        elif kind == "delete":
            storage.deleteObject(*arguments, transaction)
        elif kind == "undo":
            storage.undo(b64encode(arguments[0]), transaction)
        elif kind == "restore":
            oid, data, data_tid = arguments
            storage.restore(oid, storage._tid, data, "", data_tid, transaction)
        else:
            raise SystemExit("an unknown change: %s" % kind)

    def do_commit(self, step):
        user, description, extension = (unhex(part) for part in step["meta"])
        transaction = TransactionMetaData(user, description, extension)
        status = step.get("status", " ")
        self.storage.tpc_begin(transaction, unhex(step["tid"]), status)
        try:
            for change in step["changes"]:
                self.change(transaction, *change)
            self.storage.tpc_vote(transaction)
            self.storage.tpc_finish(transaction)
        except ReadConflictError as error:
            return {"error": "read conflict of %s" % error.oid.hex()}
        except ConflictError as error:
            return {"error": "conflict of %s" % error.oid.hex()}
        except UndoError:
            return {"error": "undo"}
        except POSKeyError as error:
            return {"error": "no object %s" % error.args[0].hex()}
        finally:
            self.storage.tpc_abort(transaction)
        return {"error": None}

    def do_pack(self, step):
        try:
            self.storage.pack(step["to"], referencesf, gc=step["gc"])
        except Exception as error:
            return {"error": type(error).__name__}
        return {"error": None}

    def do_reopen(self, step):
        self.storage.close()
        shutil.copy(self.path + ".index", step["keep"])
        shutil.copy(step["index"], self.path + ".index")
        self.storage = FileStorage(self.path)
        return {}

    def do_facts(self, step):
        storage = self.storage
        oids = [unhex(oid) for oid in step["oids"]]
        return {
            "last": storage.lastTransaction().hex(),
            "objects": len(storage),
            "size": storage.getSize(),
            "content": self.content(),
            "loads": [[self.load(oid, unhex(tid)) for tid in step["tids"]] for oid in oids],
            "histories": [self.history(oid) for oid in oids],
            "undo log": [
                [b64decode(entry["id"]).hex(), entry["user_name"].hex(),
                 entry["description"].hex()]
                for entry in storage.undoLog(0, 1 << 20)
            ],
            "records": self.records(),
            "file": self.file(),
        }

    def content(self):
        return [
            [t.tid.hex(), t.status == "p", t.user.hex(), t.description.hex(),
             t.extension_bytes.hex(),
             [[r.oid.hex(), short(r.data), hexed(r.data_txn)] for r in t]]
            for t in self.storage.iterator()
        ]

    def load(self, oid, tid):
        try:
            found = self.storage.loadBefore(oid, tid)
        except POSKeyError:
            return "missing"
        return found and [short(found[0]), found[1].hex(), hexed(found[2])]

    def history(self, oid):
        try:
            return [[h["tid"].hex(), h["size"]] for h in self.storage.history(oid, 1000)]
        except POSKeyError:
            return "missing"

    def records(self):
        """As an export walks through them, up to the first that was removed."""
        found, cookie = [], None
        while True:
            try:
                oid, tid, data, cookie = self.storage.record_iternext(cookie)
            except POSKeyError:
                return found + ["missing"]
            except ValueError:
                return found
            found.append([oid.hex(), tid.hex(), short(data)])
            if cookie is None:
                return found

    def file(self):
        with open(self.path, "rb") as file:
            return short(file.read())


def main():
    logging.disable(logging.CRITICAL)
    judge = Judge(json.loads(sys.stdin.readline())["path"])
    for line in sys.stdin:
        step = json.loads(line)
        print(json.dumps(getattr(judge, "do_" + step["do"])(step)), flush=True)
    judge.storage.close()
    os._exit(0)


if __name__ == "__main__":
    main()
