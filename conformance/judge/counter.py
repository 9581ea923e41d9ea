"""Genuine ZEO clients that add to root()["counter"], each in a process of its own.

Standard input: {"server": "host:port", "processes", "times"}: each process adds one, `times` times,
and tries again after a conflict. Standard output: {"conflicts"}.
"""

import json
import multiprocessing
import sys

import transaction
import ZEO
from ZODB.POSException import ConflictError


def work(server, times, results):
    host, _, port = server.rpartition(":")
    database = ZEO.DB((host, int(port)), wait_timeout=30)
    conflicts = 0
    for _ in range(times):
        while True:
            connection = database.open()
            try:
                counter = connection.root()["counter"]
                counter["value"] = counter["value"] + 1
                transaction.commit()
                break
            except ConflictError:
                transaction.abort()
                conflicts += 1
            finally:
                connection.close()
    database.close()
    results.put(conflicts)


def main():
    wanted = json.load(sys.stdin)
    results = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(
            target=work, args=(wanted["server"], wanted["times"], results), daemon=True
        )
        for _ in range(wanted["processes"])
    ]
    for worker in workers:
        worker.start()
    conflicts = sum(results.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    print(json.dumps({"conflicts": conflicts}))


if __name__ == "__main__":
    main()
