"""The original's side of `cargo xtask bench storage`: one task as JSON in, what was found out.

Each task has a process of its own, so that its memory can be told. The tasks, and what they find,
are those of the bench's own worker.
"""

import contextlib
import io
import json
import os
import random
import sys
import threading
import time

from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.scripts import fsrefs
from ZODB.scripts import fstest
from ZODB.scripts import repozo
from ZODB.serialize import referencesf
from ZODB.utils import maxtid
from ZODB.utils import p64
from ZODB.utils import z64

RECORD = b"x" * 1000
BETWEEN_COMMITS = 0.005


def status(field):
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    raise SystemExit("no figure of memory")


def resident():
    return status("VmRSS:")


def anonymous():
    return status("RssAnon:")


def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def commit(storage, oid, base, record):
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    storage.store(oid, base, record, "", transaction)
    storage.tpc_vote(transaction)
    return storage.tpc_finish(transaction)


def task_open(task):
    path = task["path"]
    if not task["index"] and os.path.exists(path + ".index"):
        os.remove(path + ".index")
    before = anonymous()
    start = time.perf_counter()
    storage = FileStorage(path)
    seconds = time.perf_counter() - start
    for number in range(0, task["objects"], 500):
        storage.loadBefore(p64(number), maxtid)
    after = anonymous()
    objects = len(storage)
    start = time.perf_counter()
    storage.close()
    return {
        "seconds": seconds,
        "close_seconds": time.perf_counter() - start,
        "objects": objects,
        "anonymous_bytes": max(0, after - before),
    }


def in_threads(count, work):
    """What each returned, and how long all took."""
    found, threads = [], []
    start = time.perf_counter()
    for number in range(count):
        threads.append(threading.Thread(target=lambda n=number: found.append(work(n, start))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    if len(found) != count:
        raise SystemExit("a thread failed")
    return found, time.perf_counter() - start


def task_loads(task):
    storage = FileStorage(task["path"])
    objects, seconds = task["objects"], task["seconds"]

    def work(seed, start):
        choose = random.Random(seed).randrange
        loaded = 0
        while time.perf_counter() - start < seconds:
            for _ in range(16):
                storage.loadBefore(p64(choose(objects)), maxtid)
            loaded += 16
        return loaded

    found, took = in_threads(task["threads"], work)
    storage.close()
    return {"per_second": sum(found) / took}


def task_commits(task):
    storage = FileStorage(os.path.join(task["directory"], "commits-theirs.fs"))
    seconds = task["seconds"]

    def work(number, start):
        oid, base, done = p64(number + 1), z64, 0
        while time.perf_counter() - start < seconds:
            base = commit(storage, oid, base, RECORD)
            done += 1
        return done

    found, took = in_threads(task["writers"], work)
    storage.close()
    return {"per_second": sum(found) / took}


def task_pack(task):
    storage = FileStorage(task["path"])
    bytes_before = storage.getSize()
    before = resident()
    forget_peak()
    waits, over = [], threading.Event()

    def writer():
        record, base, _ = storage.loadBefore(z64, maxtid)
        while not over.is_set():
            start = time.perf_counter()
            base = commit(storage, z64, base, record)
            waits.append(time.perf_counter() - start)
            time.sleep(BETWEEN_COMMITS)

    thread = threading.Thread(target=writer)
    thread.start()
    start = time.perf_counter()
    storage.pack(time.time(), referencesf)
    seconds = time.perf_counter() - start
    over.set()
    thread.join()
    peak = status("VmHWM:")
    bytes_after = storage.getSize()
    storage.close()
    return {
        "seconds": seconds,
        "commits": len(waits),
        "longest_ms": max(waits, default=0) * 1000,
        "extra_bytes": max(0, peak - before),
        "bytes_before": bytes_before,
        "bytes_after": bytes_after,
    }


def quiet(tool, *arguments):
    """A tool of the original's that must have no complaint."""
    out = io.StringIO()
    start = time.perf_counter()
    with contextlib.redirect_stdout(out):
        tool(*arguments)
    seconds = time.perf_counter() - start
    if out.getvalue():
        raise SystemExit("the file is not sound: %s" % out.getvalue()[:500])
    return {"seconds": seconds}


def task_verify(task):
    return quiet(fstest.check, task["path"])


def task_refs(task):
    return quiet(fsrefs.main, task["path"])


def task_backup(task):
    return quiet(repozo.main, ["-B", "-F", "-r", task["directory"], "-f", task["path"]])


def main():
    task = json.load(sys.stdin)
    forget_peak()
    before = time.process_time()
    found = globals()["task_" + task["task"]](task)
    found["processor_seconds"] = time.process_time() - before
    found.setdefault("peak_bytes", status("VmHWM:"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
