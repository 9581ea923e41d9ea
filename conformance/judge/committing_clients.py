"""Genuine ZEO clients that commit without end, each in a process of its own.

The first line of standard input: {"server": "host:port", "processes"}. Each process changes two objects of
its own together. Standard output, one line of JSON for each commit that was acknowledged: {"client",
"number", "tid", "seconds"} (how long it took). The end of standard input ends them all; whatever they find
wrong is said as {"wrong"}.
"""

import json
import multiprocessing
import os
import sys
import time

import transaction
import ZEO
from persistent.mapping import PersistentMapping
from ZEO.Exceptions import ClientDisconnected
from ZODB.POSException import POSError


def say(what):
    # Short enough to be written whole.
    os.write(1, json.dumps(what).encode() + b"\n")


def names(client):
    return "genuine %d one" % client, "genuine %d two" % client


def prepare(address, count):
    """The objects of all, under the root."""
    database = ZEO.DB(address, wait_timeout=60)
    connection = database.open()
    for client in range(count):
        for name in names(client):
            connection.root()[name] = PersistentMapping(number=0)
    transaction.commit()
    database.close()


def patient(work):
    """What `work` says, however often the server goes away meanwhile."""
    while True:
        try:
            return work()
        except (POSError, ClientDisconnected, transaction.interfaces.TransientError):
            transaction.abort()
            time.sleep(0.05)


def work(address, client, stop):
    database = ZEO.DB(address, wait_timeout=60)
    acknowledged = 0
    while not stop.is_set():
        connection = database.open()
        one, two = (patient(lambda: connection.root()[name]) for name in names(client))
        found = [patient(lambda: each["number"]) for each in (one, two)]
        # The one that was under way when the server went may be there or not.
        if found[0] != found[1] or found[0] not in (acknowledged, acknowledged + 1):
            say({"wrong": "client %d found %r after %d" % (client, found, acknowledged)})
        number = found[0] + 1
        begun = time.monotonic()
        try:
            one["number"] = two["number"] = number
            transaction.commit()
            acknowledged = number
            seconds = time.monotonic() - begun
            tid = one._p_serial.hex()
            say({"client": client, "number": number, "tid": tid, "seconds": seconds})
        except (POSError, ClientDisconnected, transaction.interfaces.TransientError):
            transaction.abort()
            acknowledged = number - 1
            time.sleep(0.05)
        finally:
            connection.close()
    database.close()


def main():
    wanted = json.loads(sys.stdin.readline())
    host, _, port = wanted["server"].rpartition(":")
    address = host, int(port)
    prepare(address, wanted["processes"])
    stop = multiprocessing.Event()
    workers = [
        multiprocessing.Process(target=work, args=(address, client, stop), daemon=True)
        for client in range(wanted["processes"])
    ]
    for worker in workers:
        worker.start()
    sys.stdin.read()
    stop.set()
    for worker in workers:
        worker.join(60)


if __name__ == "__main__":
    main()
