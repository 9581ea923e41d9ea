"""Export files by ZODB itself.

Standard input: {"path", "object", "export": file to write, "import": file to read}. The object, named
by its path in Zope, is exported; then the other file is imported, which commits. Standard output, as
JSON: "oid" of the exported object, "records" (id and data, base64) that the import made.
"""

import base64
import json
import sys

import transaction
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage


def main():
    wanted = json.load(sys.stdin)
    database = DB(FileStorage(wanted["path"]))
    connection = database.open()
    place = connection.root()["Application"]
    for name in filter(None, wanted["object"].split("/")):
        place = place._getOb(name)
    oid = place._p_oid
    connection.exportFile(oid, wanted["export"]).close()
    connection.importFile(wanted["import"])
    transaction.commit()
    connection.close()
    database.close()

    storage = FileStorage(wanted["path"], read_only=True)
    records = []
    for entry in storage.iterator(start=storage.lastTransaction()):
        records = [[r.oid.hex(), base64.b64encode(r.data).decode()] for r in entry]
    storage.close()
    print(json.dumps({"oid": oid.hex(), "records": records}))


if __name__ == "__main__":
    main()
