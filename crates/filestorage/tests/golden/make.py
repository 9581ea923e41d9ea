"""Makes the golden files with the original ZODB. Versions: see MANIFEST.md.

    python make.py

Rewrites the files beside it. Transaction ids are fixed, so that the same versions give the same
bytes.
"""

import base64
import io
import json
import os
import pickle
import shutil
import tempfile

from persistent.TimeStamp import TimeStamp
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.serialize import referencesf
from ZODB.utils import p64, u64, z64

HERE = os.path.dirname(os.path.abspath(__file__))
FIRST_TID = 0x03F0_0000_0000_0000


def record(text):
    """Two pickles, as in a real record: a class and a state."""
    return pickle.dumps(('golden', 'Thing'), 3) + pickle.dumps({'text': text}, 3)


class Maker:
    """Commits with fixed transaction ids."""

    def __init__(self, path):
        self.storage = FileStorage(path)
        self.count = 0

    def meta(self, user='', description='', extension=None):
        return TransactionMetaData(user, description, extension or {})

    def begin(self, meta):
        self.count += 1
        tid = p64(FIRST_TID + (self.count << 32))
        self.storage.tpc_begin(meta, tid)
        return tid

    def end(self, meta):
        self.storage.tpc_vote(meta)
        self.storage.tpc_finish(meta)

    def store(self, changes, **facts):
        meta = self.meta(**facts)
        tid = self.begin(meta)
        for oid, base, data in changes:
            self.storage.store(p64(oid), base, data, '', meta)
        self.end(meta)
        return tid

    def undo(self, tid, **facts):
        meta = self.meta(**facts)
        undone = self.begin(meta)
        self.storage.undo(base64.encodebytes(tid).rstrip(), meta)
        self.end(meta)
        return undone

    def delete(self, oid, base, **facts):
        meta = self.meta(**facts)
        tid = self.begin(meta)
        self.storage.deleteObject(p64(oid), base, meta)
        self.end(meta)
        return tid


def text(data):
    return None if data is None else base64.b64encode(data).decode()


def expected(path):
    """What the original makes of the file."""
    storage = FileStorage(path, read_only=True)
    transactions = [
        {
            'tid': u64(t.tid),
            'status': t.status,
            'user': text(t.user),
            'description': text(t.description),
            'extension': text(t.extension_bytes),
            'records': [
                {'oid': u64(r.oid), 'data': text(r.data),
                 'data_tid': None if r.data_txn is None else u64(r.data_txn)}
                for r in t
            ],
        }
        for t in storage.iterator()
    ]
    tids = [t['tid'] for t in transactions]
    oids = sorted({r['oid'] for t in transactions for r in t['records']})
    loads = []
    for oid in oids:
        for before in sorted({b for t in tids for b in (t, t + 1)} | {(1 << 63) - 1}):
            answer = {'oid': oid, 'before': before}
            try:
                found = storage.loadBefore(p64(oid), p64(before))
            except POSKeyError:
                answer['found'] = 'missing'
            else:
                answer['found'] = 'none' if found is None else {
                    'data': text(found[0]), 'tid': u64(found[1]),
                    'next': None if found[2] is None else u64(found[2])}
            loads.append(answer)
    result = {
        'size': storage.getSize(),
        'last_tid': u64(storage.lastTransaction()),
        'objects': len(storage),
        'transactions': transactions,
        'loads': loads,
    }
    storage.close()
    return result


def make(path):
    maker = Maker(path)
    one = maker.store([(0, z64, record('root')), (1, z64, record('one, first'))],
                      user='/ admin', description='initial')
    two = maker.store([(1, one, record('one, second')), (2, z64, record('two'))],
                      description='/folder/page \u00e4', extension={'who': 'golden', 'n': 7})
    # Undo: back pointers; the creation of object 2 is undone.
    three = maker.undo(two, user='undoer')
    back = maker.undo(three, user='undoer', description='undo of the undo')
    # A back pointer to a record that has a back pointer itself.
    third = maker.store([(1, back, record('one, third'))])
    maker.undo(third, description='back to a back pointer')
    four = maker.store([(3, z64, record('three, early')), (4, z64, record('x' * 6000)),
                        (3, z64, record('three, late'))], description='twice in one transaction')
    maker.store([], description='empty')
    maker.delete(4, four, description='deleted')
    maker.store([(70000, z64, record('far away'))])
    five = maker.store([(5, z64, record('five'))])
    maker.undo(five, description='creation undone')
    return maker


class Reference:
    """Stands for another object in a state."""

    def __init__(self, identity):
        self.identity = identity


class ReferencePickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identity if isinstance(value, Reference) else None


def referring(text, *identities):
    """A record whose state holds references with these persistent ids."""
    file = io.BytesIO()
    pickler = ReferencePickler(file, 3)
    pickler.dump(('golden', 'Thing'))
    pickler.dump({'text': text, 'parts': [Reference(identity) for identity in identities]})
    return file.getvalue()


def strong(oid):
    return (p64(oid), ('golden', 'Thing'))


def make_unpacked(path):
    """A history in which each pack time leaves something else out."""
    maker = Maker(path)
    root = maker.store([
        (0, z64, referring('root', strong(1), p64(2), ['w', (p64(3),)],
                           ['m', ('other', p64(4), ('golden', 'Thing'))], ['n', ('other', p64(4))])),
        (1, z64, referring('one', strong(0))), (2, z64, referring('two', strong(5))),
        (3, z64, record('only weakly held')), (4, z64, record('never held')),
        (5, z64, record('five')),
    ], user='admin', description='initial')
    one = maker.store([(1, root, referring('one, again'))], extension={'n': 1})
    five = maker.store([(5, root, record('five, again')), (4, root, record('never held, again'))])
    maker.undo(five, description='five as it was')
    maker.store([], description='empty')
    maker.store([(6, z64, record('six')), (7, z64, record('seven'))])
    # The pack times lie between here,
    dropped = maker.store([(0, root, referring('root, smaller', strong(1)))])
    gone = maker.delete(4, maker.storage.getTid(p64(4)), description='deleted')
    maker.undo(gone, description='deletion undone')
    # and here.
    maker.undo(dropped, description='root as it was')
    maker.undo(one, description='one as it was')
    maker.store([(8, z64, record('eight')), (1, maker.storage.getTid(p64(1)),
                                             referring('one, once more', strong(8)))])
    maker.storage.close()
    return maker.count


def make_packs(folder):
    """What the original's pack makes of one file, at several times."""
    path = os.path.join(folder, 'unpacked.fs')
    count = make_unpacked(path)
    shutil.copy(path, HERE)
    for name, number, gc in [('late', count, True), ('middle', 8, True), ('early', 6, True),
                             ('no-gc', count, False)]:
        copy = os.path.join(folder, name)
        shutil.copy(path, copy)
        storage = FileStorage(copy)
        # Half a minute behind the transaction with that number.
        time = TimeStamp(p64(FIRST_TID + (number << 32))).timeTime() + 30
        storage.pack(time, referencesf, gc)
        storage.close()
        shutil.copy(copy, os.path.join(HERE, 'packed-%s.fs' % name))


def main():
    folder = tempfile.mkdtemp()
    try:
        path = os.path.join(folder, 'Data.fs')
        maker = make(path)
        maker.storage.close()
        shutil.copy(path, os.path.join(HERE, 'plain.fs'))
        shutil.copy(path + '.index', os.path.join(HERE, 'plain.fs.index'))
        with open(os.path.join(HERE, 'plain.json'), 'w') as f:
            json.dump(expected(path), f, indent=1, sort_keys=True)
            f.write('\n')

        # A process that died between vote and finish.
        storage = FileStorage(path)
        maker.storage = storage
        meta = maker.meta(user='nobody', description='never finished')
        maker.begin(meta)
        storage.store(p64(6), z64, record('six'), '', meta)
        storage.tpc_vote(meta)
        shutil.copy(path, os.path.join(HERE, 'unfinished.fs'))
        storage.tpc_abort(meta)
        storage.close()
        make_packs(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == '__main__':
    main()
