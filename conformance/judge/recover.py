"""Judges recovered files beside those of ZODB's own fsrecover.

Standard input: {"sound": path, "cases": [{"damaged", "whole", "partial"}, ...]}, where "whole" and
"partial" are what was made of "damaged" without and with --partial. Standard output, as JSON, for
each case: "complaints" of fstest, of opening both files with FileStorage and of loading every object;
"lost", the records of the sound file that fsrecover saved and the file does not have: [tid, oid], for
"whole" only where fsrecover saved all of the transaction; "hangs", whether fsrecover came to no end;
"saved", how many records fsrecover saved, and how many the partial file has.

A record that refers to another one for its data counts only where fsrecover saved the one that has the
data: it takes a zeroed record for an undone creation, and what it makes of that may happen to be right.

Where the ids in a transaction's header and in its only record differ, nothing says which one is broken.
fsrecover writes both as they are, which happens to name the right one; a file that agrees with itself has
one of them. Such a record is not lost where it is under the id in the header.
"""

import contextlib
import io
import json
import os
import signal
import sys
import tempfile

from ZODB import fsrecover
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.scripts import fstest
from ZODB.utils import load_current

PATIENCE = 10


def records(path, renamed=None):
    """All records, by transaction; what cannot be read is not there. `renamed` gets the transactions of
    those that say another one."""
    found = {}
    storage = FileStorage(path, read_only=True)
    try:
        for transaction in storage.iterator():
            for record in transaction:
                found.setdefault(record.tid, set()).add((record.oid, record.data))
                if renamed is not None and record.tid != transaction.tid:
                    renamed[record.tid, record.oid] = transaction.tid
    except Exception:
        pass
    storage.close()
    return found


def origins(path):
    """The transaction that has the data of each record: by transaction, then by object."""
    found = {}
    storage = FileStorage(path, read_only=True)
    for transaction in storage.iterator():
        for record in transaction:
            origin = record.tid
            if record.data_txn is not None:
                origin = found.get(record.data_txn, {}).get(record.oid, record.data_txn)
            found.setdefault(record.tid, {})[record.oid] = origin
    storage.close()
    return found


def complaints(path):
    said = []
    try:
        fstest.check(path)
    except Exception as error:
        said.append("fstest: %s" % error)
    # Also without the index that lies beside it.
    for index in (True, False):
        if not index and os.path.exists(path + ".index"):
            os.remove(path + ".index")
        size = os.path.getsize(path)
        storage = FileStorage(path)
        for oid in storage._index.keys():
            try:
                load_current(storage, oid)
            except POSKeyError as error:
                if error.args[0] != oid:
                    said.append("load: %r" % error)
        storage.close()
        if os.path.getsize(path) != size:
            said.append("opening it cut %d bytes off" % (size - os.path.getsize(path)))
    return said


class Hangs(Exception):
    pass


def out_of_patience(*_):
    raise Hangs


def original(damaged, partial, renamed):
    """What fsrecover saves."""
    with tempfile.TemporaryDirectory() as directory:
        output = os.path.join(directory, "output.fs")
        signal.alarm(PATIENCE)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                fsrecover.recover(damaged, output, partial=partial)
        except Hangs:
            return None
        finally:
            signal.alarm(0)
        # The index beside a file in which it saved nothing is one that it fails to open.
        if os.path.exists(output + ".index"):
            os.remove(output + ".index")
        return records(output, renamed)


def judge(case, sound, origin):
    said = {"complaints": [], "hangs": False, "lost": [], "saved": [0, 0]}
    for kind in ("whole", "partial"):
        said["complaints"] += ["%s: %s" % (kind, what) for what in complaints(case[kind])]
        ours = records(case[kind])
        renamed = {}
        theirs = original(case["damaged"], kind == "partial", renamed)
        if theirs is None:
            said["hangs"] = True
            continue
        for tid, all_of_it in sound.items():
            saved = theirs.get(tid, set()) & all_of_it
            if kind == "whole" and saved != all_of_it:
                continue
            lacking = {
                (oid, data)
                for oid, data in saved - ours.get(tid, set())
                if (oid, data) in theirs.get(origin[tid][oid], set())
                and (oid, data) not in ours.get(renamed.get((tid, oid)), set())
            }
            said["lost"] += [[kind, tid.hex(), oid.hex()] for oid, _ in lacking]
            said["saved"][0] += len(saved)
        said["saved"][1] += sum(len(ours.get(tid, set()) & sound[tid]) for tid in sound)
    return said


def main():
    import logging

    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, out_of_patience)
    wanted = json.load(sys.stdin)
    sound, origin = records(wanted["sound"]), origins(wanted["sound"])
    print(json.dumps([judge(case, sound, origin) for case in wanted["cases"]]))


if __name__ == "__main__":
    main()
