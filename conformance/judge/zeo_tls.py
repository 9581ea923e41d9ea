"""A genuine ZEO client that speaks TLS.

Standard input: {"server": "host:port", "ssl": the lines of an <ssl> section or null, "write": a value
or null}. root()["visits"] gets the value at its end. Standard output: {"visits": root()["visits"]}, or
{"refused": the exception's class} where no server could be reached. Without "server":
{"certificates": the directory of the certificates that ZEO's own tests use}.
"""

import json
import os
import sys

import transaction
import ZEO.tests
import ZODB
from ZEO.Exceptions import ClientDisconnected
from ZODB.config import storageFromString

# Long enough for a connection that succeeds.
WAIT_REFUSED = 2


def main():
    wanted = json.load(sys.stdin)
    if "server" not in wanted:
        json.dump({"certificates": os.path.dirname(ZEO.tests.__file__)}, sys.stdout)
        return
    ssl = wanted["ssl"]
    section = "" if ssl is None else f"<ssl>\n{ssl}\n</ssl>"
    wait = WAIT_REFUSED if wanted["write"] is None else 30
    text = f"""%import ZEO
    <clientstorage>
      server {wanted["server"]}
      wait-timeout {wait}
      {section}
    </clientstorage>"""
    try:
        storage = storageFromString(text)
    except ClientDisconnected as error:
        json.dump({"refused": type(error).__name__}, sys.stdout)
        return
    database = ZODB.DB(storage)
    root = database.open().root()
    if wanted["write"] is not None:
        root["visits"] = root.get("visits", []) + [wanted["write"]]
        # More than one record of TLS has room for, and than sockets take at once.
        root["large"] = "x" * 3_000_000
        transaction.commit()
    json.dump({"visits": list(root.get("visits", []))}, sys.stdout)
    database.close()


if __name__ == "__main__":
    main()
