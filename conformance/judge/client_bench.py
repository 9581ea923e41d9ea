"""The original's side of the clients' timings: ZEO's client, and RelStorage.

Standard input: one task {"task", "place", "objects", ...}, where the place is {"server": "host:port"} or
{"postgres": port}. Prints what was found. The objects have ids from 1 on, and each has its id as data["number"].

- fill: copies the Data.fs "data" into the place.
- reads: all objects, cold, warm and hot, by connections of "threads" threads; rates over "seconds".
- prefetch: all objects, "ahead" asked for at a time.
- keep: reads all, with a cache that stays in the directory "cache".
- restart: the same with the cache that is there; timed from the start.
- commits: "threads" threads for "seconds", each with an object of its own.
"""
import json
import sys
import threading
import time

import transaction
import ZODB
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64

CACHE_MEGABYTES = 512
# Coprime to the numbers of objects: every one is read once, and not its neighbour next.
STRIDE = 7919


def opened(asked):
    place, cache = asked["place"], asked.get("cache")
    if "server" in place:
        host, _, port = place["server"].rpartition(":")
        kept = {"client": "bench", "var": cache} if cache else {}
        return ClientStorage((host, int(port)), cache_size=CACHE_MEGABYTES << 20, wait_timeout=30, **kept)
    from relstorage.adapters.postgresql import PostgreSQLAdapter
    from relstorage.options import Options
    from relstorage.storage import RelStorage

    options = Options(cache_local_mb=CACHE_MEGABYTES, cache_local_dir=cache, cache_prefix="bench")
    dsn = "dbname='postgres' user='postgres' host='127.0.0.1' port='%d'" % place["postgres"]
    return RelStorage(PostgreSQLAdapter(dsn=dsn, options=options), options=options)


def database(asked):
    objects = asked["objects"] * 2 + 100
    return ZODB.DB(opened(asked), cache_size=objects, cache_size_bytes=0)


def connection(db):
    return db.open(transaction.TransactionManager())


def order(asked):
    objects = asked["objects"]
    return [p64(1 + number * STRIDE % objects) for number in range(objects)]


def read_all(connection, oids):
    total = 0
    get = connection.get
    for oid in oids:
        total += get(oid).data["number"]
    assert total == len(oids) * (len(oids) + 1) // 2, total


def rate(count, work):
    begun, computed = time.perf_counter(), time.process_time()
    work()
    seconds, computed = time.perf_counter() - begun, time.process_time() - computed
    return {"per_second": count / seconds, "cpu_us": computed / count * 1e6}


def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024


def side_by_side(works, seconds):
    """Lets the works, which count what they do, run until the time is over."""
    end = time.perf_counter() + seconds
    counts = []
    threads = [threading.Thread(target=lambda work=work: counts.append(work(end))) for work in works]
    begun, computed = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, computed = time.perf_counter() - begun, time.process_time() - computed
    assert len(counts) == len(works)
    return {"per_second": sum(counts) / took, "cpu_us": computed / sum(counts) * 1e6}


def hits(read, oids, end):
    count = 0
    while True:
        for first in range(0, len(oids), 100):
            for oid in oids[first:first + 100]:
                read(oid)
            count += len(oids[first:first + 100])
            if time.perf_counter() >= end:
                return count


def reads(asked):
    oids = order(asked)
    before = resident()
    db = database(asked)
    one = connection(db)
    found = {"cold": rate(len(oids), lambda: read_all(one, oids))}
    found["bytes"] = (resident() - before) / len(oids)
    connections = [connection(db) for _ in range(asked["threads"])]
    found["warm"] = rate(len(oids), lambda: read_all(connections[0], oids))
    # Each connection decodes anew what it has not read yet.
    found["decoded"] = found["warm"]
    found["hot"] = rate(len(oids), lambda: read_all(connections[0], oids))
    for other in connections[1:]:
        read_all(other, oids)
    one.close()
    found["bytes_of_all"] = (resident() - before) / len(oids)

    def objects(get):
        return lambda end: hits(lambda oid: get(oid).data["number"], oids, end)

    def records(load):
        return lambda end: hits(load, oids, end)

    found["hits"] = side_by_side([objects(each.get) for each in connections], asked["seconds"])
    found["records"] = side_by_side([records(each._storage.load) for each in connections], asked["seconds"])
    return found


def prefetch(asked):
    oids = order(asked)
    db = database(asked)
    one = connection(db)
    return rate(len(oids), lambda: read_ahead(one, oids, asked["ahead"]))


def read_ahead(connection, oids, ahead):
    total = 0
    get = connection.get
    for first in range(0, len(oids), ahead):
        some = oids[first:first + ahead]
        connection.prefetch(some)
        for oid in some:
            total += get(oid).data["number"]
    assert total == len(oids) * (len(oids) + 1) // 2, total


def keep(asked):
    db = database(asked)
    read_ahead(connection(db), order(asked), asked["ahead"])
    db.close()
    return {}


def restart(asked):
    oids = order(asked)
    begun = time.perf_counter()
    db = database(asked)
    read_all(connection(db), oids)
    found = {"seconds": time.perf_counter() - begun}
    db.close()
    return found


def commits(asked):
    db = database(asked)

    def commits_of(number):
        manager = transaction.TransactionManager()
        found = db.open(manager).get(p64(1 + number))

        def work(end):
            count = 0
            while time.perf_counter() < end:
                manager.begin()
                found.data["changed"] = found.data.get("changed", 0) + 1
                found._p_changed = True
                manager.commit()
                count += 1
            return count

        return work

    return side_by_side([commits_of(number) for number in range(asked["threads"])], asked["seconds"])


def fill(asked):
    source = FileStorage(asked["data"], read_only=True)
    target = opened(asked)
    target.copyTransactionsFrom(source)
    target.close()
    source.close()
    return {}


def main():
    asked = json.load(sys.stdin)
    tasks = [fill, reads, prefetch, keep, restart, commits]
    found = {task.__name__: task for task in tasks}[asked["task"]](asked)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
