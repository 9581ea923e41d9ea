"""A genuine ZEO server with many empty storages.

Standard input: one line {"directory", "count", "msgpack", "blobs", "read_only", "port"}. The storages are
named "0", "1", ...; each is a FileStorage of its own in the directory, with "<number>.blobs" if there are
to be blobs. The last three may be absent. Standard output: {"server": "host:port"} as soon as it
listens. It serves until standard input ends.
"""

import json
import logging
import os
import sys
import threading

from ZEO.StorageServer import StorageServer
from ZODB.FileStorage import FileStorage


def main():
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    wanted = json.loads(sys.stdin.readline())
    storages = {
        str(number): FileStorage(
            os.path.join(wanted["directory"], "%d.fs" % number),
            blob_dir=os.path.join(wanted["directory"], "%d.blobs" % number) if wanted.get("blobs") else None,
        )
        for number in range(wanted["count"])
    }
    server = StorageServer(
        ("127.0.0.1", wanted.get("port", 0)),
        storages,
        msgpack=wanted["msgpack"],
        read_only=wanted.get("read_only", False),
    )
    print(json.dumps({"server": "%s:%d" % server.addr[:2]}), flush=True)
    threading.Thread(target=server.loop, daemon=True).start()
    sys.stdin.read()
    # Nobody asks any more; the files go away with their directory.
    os._exit(0)


if __name__ == "__main__":
    main()
