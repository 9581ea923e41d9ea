"""A genuine ZEO client that visits storages of a server.

Standard input: {"server": "host:port" or a path, "storages": [name, ...], "write": a value or null}.
In each storage, root()["visits"] gets the value at its end, unless that is null. Standard output:
{name: root()["visits"]}, as a second client finds it.
"""

import json
import sys

import transaction
import ZEO


def open_database(server, storage):
    address = server
    if "/" not in server:
        host, _, port = server.rpartition(":")
        address = (host.strip("[]"), int(port))
    return ZEO.DB(address, storage=storage, wait_timeout=30)


def main():
    wanted = json.load(sys.stdin)
    found = {}
    for name in wanted["storages"]:
        if wanted["write"] is not None:
            database = open_database(wanted["server"], name)
            connection = database.open()
            root = connection.root()
            # The long text is worth compressing.
            root["visits"] = root.get("visits", []) + [wanted["write"]]
            root["text"] = "again and " * 1000
            transaction.commit()
            database.close()
        database = open_database(wanted["server"], name)
        connection = database.open()
        found[name] = list(connection.root().get("visits", []))
        database.close()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
