"""A genuine database with blobs, and ZODB's own repozo.

Standard input: {"data": path of the Data.fs, "blobs": its directory of blobs, "steps": [step, ...]}.
A step is one of

  ["grow", n]               n transactions, each with a new blob
  ["pack"]
  ["free", repository]      waits until a backup of this second would have a name of its own
  ["repozo", arg, ...]      runs repozo; its exit status
  ["blobs", data, blobs]    what all blobs of another database hold, by key

Standard output, as JSON: what each step said.
"""

import json
import os
import subprocess
import sys
import time

import transaction
from ZODB.blob import Blob
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

REPOZO = [sys.executable, "-m", "ZODB.scripts.repozo"]


class Steps:
    def __init__(self, data, blobs):
        self.data = data
        self.blob_directory = blobs

    def open(self):
        return DB(FileStorage(self.data, blob_dir=self.blob_directory))

    def grow(self, count):
        database = self.open()
        manager = transaction.TransactionManager()
        root = database.open(manager).root()
        for _ in range(count):
            number = len(root)
            root["blob %d" % number] = Blob(b"blob %d " % number * (number + 1))
            # An object that gets old revisions, so that a pack has something to remove.
            root["last"] = "record %d " % number * 100
            manager.commit()
        database.close()

    def pack(self):
        database = self.open()
        database.pack()
        database.close()

    def free(self, repository):
        names = sorted(name for name in os.listdir(repository) if name[:1].isdigit())
        newest = names[-1][:19] if names else ""
        while time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime()) <= newest:
            time.sleep(0.01)

    def repozo(self, *arguments):
        done = subprocess.run(REPOZO + list(arguments), capture_output=True, text=True)
        return {"status": done.returncode, "said": done.stderr}

    def blobs(self, data, directory):
        database = DB(FileStorage(data, blob_dir=directory, read_only=True))
        connection = database.open()
        found = {}
        for key, value in sorted(connection.root().items()):
            if isinstance(value, Blob):
                with value.open() as blob:
                    found[key] = blob.read().decode()
        connection.close()
        database.close()
        return found


def main():
    wanted = json.load(sys.stdin)
    steps = Steps(wanted["data"], wanted["blobs"])
    said = [getattr(steps, name)(*arguments) for name, *arguments in wanted["steps"]]
    print(json.dumps(said))


if __name__ == "__main__":
    main()
