"""Measures loads per second of a ZEO server with genuine ZEO's own client protocol.

Standard input: {"server": "host:port", "processes", "seconds", "oids", "seed"}. Each process holds
one connection and asks loadBefore for random object ids, one after another, with no cache.
Standard output: {"loads", "seconds", "per_second", "p50_ms", "p99_ms"}.
"""

import json
import multiprocessing
import random
import sys
import time

MAXIMUM_TID = b"\x7f" + b"\xff" * 7


def work(server, seconds, oids, seed, gate, results):
    from ZEO.ClientStorage import ClientStorage
    from ZODB.utils import p64

    host, _, port = server.rpartition(":")
    storage = ClientStorage((host, int(port)), storage="1", cache_size=0, wait_timeout=30)
    call = storage._server.call
    chooser = random.Random(seed)
    for oid in oids[:50]:
        call("loadBefore", p64(oid), MAXIMUM_TID)
    gate.wait(timeout=60)
    times = []
    clock = time.perf_counter
    end = clock() + seconds
    now = clock()
    while now < end:
        call("loadBefore", p64(chooser.choice(oids)), MAXIMUM_TID)
        after = clock()
        times.append(after - now)
        now = after
    storage.close()
    results.put(times)


def main():
    wanted = json.load(sys.stdin)
    processes = wanted["processes"]
    gate = multiprocessing.Barrier(processes)
    results = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(
            target=work,
            args=(
                wanted["server"],
                wanted["seconds"],
                wanted["oids"],
                wanted["seed"] + number,
                gate,
                results,
            ),
            daemon=True,
        )
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    times = sorted(one for _ in workers for one in results.get(timeout=wanted["seconds"] + 60))
    for worker in workers:
        worker.join()
    print(
        json.dumps(
            {
                "loads": len(times),
                "seconds": wanted["seconds"],
                "per_second": len(times) / wanted["seconds"],
                "p50_ms": times[len(times) // 2] * 1000,
                "p99_ms": times[len(times) * 99 // 100] * 1000,
            }
        )
    )


if __name__ == "__main__":
    main()
