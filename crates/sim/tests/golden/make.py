"""Makes demo.json with the original DemoStorage: ZODB 6.4, Python 3.11.

    python make.py

Random stores, stale ones among them, and undos over a base with some objects; each step, what became
of it, and at the end what the original shows. Undone is only what concerns objects that the base does
not have: of others, it shows the base again, which ours does not (see COMPAT.md).
"""

import json
import logging
import os
import random
import tempfile
from base64 import encodebytes

from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError, UndoError
from ZODB.utils import maxtid, p64, u64, z64

HERE = os.path.dirname(os.path.abspath(__file__))
FIRST_TID = 0x03F0_0000_0000_0000
OBJECTS, IN_BASE = 8, 4


class Maker:
    def __init__(self):
        self.random = random.Random(11)
        self.tids = []
        self.current = {}

    def step(self, storage, actions):
        tid = p64(FIRST_TID + ((len(self.tids) + 1) << 32))
        meta = TransactionMetaData('user', 'step', {})
        step = {'tid': u64(tid), 'actions': actions}
        storage.tpc_begin(meta, tid)
        try:
            for action in actions:
                if 'undo' in action:
                    storage.undo(encodebytes(p64(action['undo'])).rstrip(), meta)
                else:
                    storage.store(p64(action['store']), p64(action['base']),
                                  action['data'].encode(), '', meta)
            storage.tpc_vote(meta)
        except (ConflictError, UndoError) as error:
            step['refused'] = 'conflict' if isinstance(error, ConflictError) else 'undo'
            storage.tpc_abort(meta)
        else:
            storage.tpc_finish(meta)
            self.tids.append(tid)
            for action in actions:
                if 'undo' not in action:
                    self.current[action['store']] = u64(tid)
        return step

    def store(self, oid, base=None):
        data = self.random.choice(['one', 'two']) * self.random.choice([1, 30])
        base = self.current.get(oid, 0) if base is None else base
        return {'store': oid, 'base': base, 'data': data}

    def action(self, storage):
        oid = self.random.randrange(OBJECTS)
        if oid >= IN_BASE and self.random.random() < 0.4:
            try:
                entry = self.random.choice(storage.changes.history(p64(oid), 3))
            except POSKeyError:
                pass
            else:
                return {'undo': u64(entry['tid'])}
        try:
            base = u64(storage.history(p64(oid), 2)[-self.random.choice([0, 0, 0, 1])]['tid'])
        except (POSKeyError, IndexError):
            base = 0
        return self.store(oid, base)


def shown(storage, tids):
    loads = []
    for oid in range(OBJECTS):
        for before in tids + [maxtid]:
            try:
                found = storage.loadBefore(p64(oid), before)
            except POSKeyError:
                found = 'missing'
            if found is not None and found != 'missing':
                data, tid, end = found
                found = [data.decode(), u64(tid), end and u64(end)]
            loads.append([oid, u64(before), found])
    histories = []
    for oid in range(OBJECTS):
        try:
            histories.append([u64(e['tid']) for e in storage.history(p64(oid), 1000)])
        except POSKeyError:
            histories.append([])
    iterated = [[u64(t.tid), [[u64(r.oid), r.data and r.data.decode()] for r in t]]
                for t in storage.iterator()]
    return {'loads': loads, 'histories': histories, 'iterated': iterated}


def main():
    logging.disable()
    maker = Maker()
    with tempfile.TemporaryDirectory() as folder:
        base = FileStorage(os.path.join(folder, 'base.fs'))
        below = [maker.step(base, [maker.store(oid) for oid in range(IN_BASE)])]
        for _ in range(6):
            below.append(maker.step(base, [maker.store(maker.random.randrange(IN_BASE))]))
        changes = FileStorage(os.path.join(folder, 'changes.fs'))
        storage = DemoStorage(base=base, changes=changes)
        above = []
        while len(above) < 150:
            actions = [maker.action(storage) for _ in range(maker.random.choice([1, 1, 2]))]
            undone = [action['undo'] for action in actions if 'undo' in action]
            touched = [u64(r.oid) for tid in undone
                       for t in changes.iterator(p64(tid), p64(tid)) for r in t]
            stored = [action['store'] for action in actions if 'store' in action]
            # Each object once, and none of the base undone.
            if min(touched, default=IN_BASE) < IN_BASE:
                continue
            if len(set(touched + stored)) < len(touched + stored):
                continue
            above.append(maker.step(storage, actions))
        facts = {'below': below, 'above': above, **shown(storage, maker.tids)}
        storage.close()
    with open(os.path.join(HERE, 'demo.json'), 'w') as file:
        json.dump(facts, file, sort_keys=True, separators=(',', ':'))
        file.write('\n')


if __name__ == '__main__':
    main()
