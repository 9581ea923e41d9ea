"""Makes the golden files with the original ZODB. Versions: see MANIFEST.md.

    python make.py

Rewrites the files beside it. Transaction ids are fixed, so that the same versions give the same
bytes.
"""

import base64
import copyreg
import io
import itertools
import json
import logging
import os
import pickle
import random
import shutil
import tempfile

from BTrees.fsBTree import fsBTree, fsBucket
from BTrees.OOBTree import OOBTree
from persistent.TimeStamp import TimeStamp
from ZODB._compat import Pickler, _protocol
from ZODB.blob import Blob
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.fsIndex import fsIndex
from ZODB.POSException import MultipleUndoErrors, POSKeyError, UndoError
from ZODB.serialize import ObjectWriter, referencesf
from ZODB.utils import p64, u64, z64
from zc.zlibstorage import ZlibStorage

HERE = os.path.dirname(os.path.abspath(__file__))
FIRST_TID = 0x03F0_0000_0000_0000


def record(text):
    """Two pickles, as in a real record: a class and a state."""
    return pickle.dumps(('golden', 'Thing'), 3) + pickle.dumps({'text': text}, 3)


class Maker:
    """Commits with fixed transaction ids."""

    def __init__(self, path, **options):
        self.storage = FileStorage(path, **options)
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


def expected(path, wrap=lambda storage: storage):
    """What the original makes of the file."""
    storage = wrap(FileStorage(path, read_only=True))
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


REASONS = {
    'Some data were modified by a later transaction': 'ChangedLater',
    "Can't undo an add transaction followed by conflicting transactions.":
        'CreatedAndChangedLater',
    '_loadBack() failed': 'Removed',
    '_loadBack() failed for %s': 'Removed',
}


class Undoer(Maker):
    """Commits stores and undos at random and notes each step, the refused ones too."""

    def __init__(self, path, seed):
        super().__init__(path)
        self.random = random.Random(seed)
        self.steps = []
        self.tids = []

    def run(self, count, undo=0.55):
        for _ in range(count):
            actions = [self.action(undo) for _ in range(self.random.choice([1, 1, 1, 2, 2, 3, 4]))]
            self.step(actions)

    def action(self, undo):
        if self.tids and self.random.random() < undo:
            back = min(int(self.random.expovariate(0.5)), len(self.tids) - 1)
            return {'undo': u64(self.tids[-1 - back])}
        # Few objects and few texts: many states come back by chance.
        return {'store': self.random.randrange(5),
                'data': text(record('ab'[self.random.randrange(2)] * self.random.choice([1, 7])))}

    def step(self, actions):
        meta = self.meta('u%d' % len(self.steps), 'step', {'n': len(self.steps)})
        step = {'user': text(meta.user), 'description': text(meta.description),
                'extension': text(meta.extension_bytes), 'actions': actions}
        self.steps.append(step)
        tid = self.begin(meta)
        step['tid'] = u64(tid)
        try:
            for action in actions:
                if 'undo' in action:
                    undone = base64.encodebytes(p64(action['undo'])).rstrip()
                    self.storage.undo(undone, meta)
                else:
                    oid = p64(action['store'])
                    action['base'] = u64(self.storage.lastTid(oid) or self.removed(oid))
                    self.storage.store(
                        oid, p64(action['base']), base64.b64decode(action['data']), '', meta)
        except MultipleUndoErrors as error:
            step['obstacles'] = [[u64(oid), REASONS[e._reason]] for oid, e in error._errs]
            self.storage.tpc_abort(meta)
        except UndoError as error:
            step['refused'] = error._reason
            self.storage.tpc_abort(meta)
        else:
            self.end(meta)
            self.tids.append(tid)

    def removed(self, oid):
        """The transaction that removed the object, which takes the place of its current one."""
        try:
            return self.storage.history(oid)[0]['tid']
        except POSKeyError:
            return z64

    def facts(self):
        storage = self.storage
        oids = [p64(oid) for oid in range(5)]
        log = [{'tid': u64(base64.b64decode(entry['id'])), 'user': text(entry['user_name']),
                'description': text(entry['description']), 'size': entry['size'], 'n': entry['n']}
               for entry in storage.undoLog(0, 1 << 30)]
        return {
            'steps': self.steps,
            'undo_log': log,
            'history': [[[u64(entry['tid']), text(entry['user_name']), entry['size']]
                         for entry in storage.history(oid, 1 << 30)] for oid in oids],
        }


def make_undo(folder):
    """Random undos; and the same file packed in the middle, with what may be undone after that."""
    path = os.path.join(folder, 'Undo.fs')
    maker = Undoer(path, 7)
    maker.run(400)
    facts = maker.facts()
    maker.storage.close()
    shutil.copy(path, os.path.join(HERE, 'undo.fs'))
    write_json('undo.json', facts)

    path = os.path.join(folder, 'Packed.fs')
    maker = Undoer(path, 8)
    maker.run(40, undo=0)
    middle = len(maker.steps)
    maker.storage.pack(TimeStamp(maker.tids[-4]).timeTime(), referencesf, gc=False)
    shutil.copy(path, os.path.join(HERE, 'packed.fs'))
    packed = next(maker.storage.iterator()).tid
    maker.step([{'undo': u64(maker.tids[0])}])
    maker.step([{'undo': u64(packed)}])
    maker.run(40)
    facts = maker.facts()
    facts['steps'] = facts['steps'][middle:]
    maker.storage.close()
    shutil.copy(path, os.path.join(HERE, 'packed_undo.fs'))
    write_json('packed_undo.json', facts)


def write_json(name, facts):
    with open(os.path.join(HERE, name), 'w') as f:
        json.dump(facts, f, indent=1, sort_keys=True)
        f.write('\n')


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


class Python2Pickler(pickle._Pickler):
    """Writes what cPickle of Python 2 wrote with protocol 1: all strings are byte strings."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value):
        value = value.encode() if isinstance(value, str) else value
        if len(value) < 256:
            self.write(b'U' + bytes([len(value)]) + value)
        else:
            self.write(b'T' + len(value).to_bytes(4, 'little') + value)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string


class OldIndex(fsIndex):
    """An fsIndex of before the state was made small, and of when `_data` was a dict."""

    def __init__(self, data):
        self._data = data

    def __getstate__(self):
        return {'_data': self._data}

    def __reduce__(self):
        return copyreg._reconstructor, (fsIndex, object, None), self.__getstate__()


def make_indexes():
    """One index in all the forms that there were. Its trees have several buckets."""
    offset = itertools.count(4, 6_700_417)
    entries = {}
    for prefix in [0] + list(range(1, 200, 5)):
        for suffix in range(0, 65536, 100 if prefix == 0 else 16000):
            entries[p64(prefix << 16 | suffix)] = next(offset)
    pos = next(offset)
    index = fsIndex(entries)
    index.save(pos, os.path.join(HERE, 'sequence.index'))

    def trees(kind):
        result = {}
        for oid, offset in entries.items():
            result.setdefault(oid[:6], kind())[oid[6:]] = p64(offset)[2:]
        return result

    forms = {
        'fsindex': index,
        'dict': entries,
        'tree-of-buckets': OldIndex(OOBTree(trees(fsBucket))),
        'tree-of-trees': OldIndex(OOBTree(trees(fsBTree))),
        'dict-of-trees': OldIndex(trees(fsBTree)),
    }
    for name, form in forms.items():
        whole = {'index': form, 'pos': pos}
        if form in (index, entries):
            with open(os.path.join(HERE, name + '.index'), 'wb') as file:
                # As FileStorage._restore_index writes what it has converted.
                Pickler(file, _protocol).dump(whole)
        with open(os.path.join(HERE, 'python2-' + name + '.index'), 'wb') as file:
            Python2Pickler(file, 1).dump(whole)


def make_compressed(folder):
    """Plain records first; compressed ones since zc.zlibstorage was put around the storage."""
    path = os.path.join(folder, 'Compressed.fs')
    maker = Maker(path)
    plain = maker.store([(0, z64, record('root')), (1, z64, record('one, plain ' * 9))])
    maker.storage.close()
    maker.storage = ZlibStorage(FileStorage(path))
    noise = random.Random(1).randbytes(500)
    packed = maker.store([(1, plain, record('one, packed ' * 9)), (2, z64, record('x' * 9000)),
                          (3, z64, record('3')), (4, z64, record(noise.hex()))])
    maker.undo(packed, description='back to plain')
    again = maker.store([(1, maker.storage.getTid(p64(1)), record('one, packed again ' * 9))])
    maker.store([(1, again, record('one, once more ' * 9)), (5, z64, referring('five', strong(1)))])
    same = maker.store([(6, z64, record('six ' * 9)), (7, z64, record('seven ' * 9))])
    other = maker.store([(6, same, record('another six ' * 9))])
    maker.store([(6, other, record('six ' * 9))])
    maker.delete(7, same, description='deleted')
    maker.storage.close()
    shutil.copy(path, os.path.join(HERE, 'compressed.fs'))
    write_json('compressed.json', expected(path, ZlibStorage))


def make_blobs(folder, layout):
    """Blobs that change, are created again and undone."""
    name = 'blobs-' + layout
    path = os.path.join(folder, name + '.fs')
    directory = os.path.join(HERE, name)
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory)
    with open(os.path.join(directory, '.layout'), 'w') as marker:
        marker.write(layout)
    # Where it makes the file it removes the directory.
    FileStorage(path).close()
    maker = Maker(path, blob_dir=directory)
    blob = ObjectWriter().serialize(Blob())
    assert maker.storage.is_blob_record(blob)

    def store(*blobs):
        meta = maker.meta()
        tid = maker.begin(meta)
        if not maker.storage.getSize() > 4:
            maker.storage.store(z64, z64, record('root'), '', meta)
        for oid, base, text in blobs:
            source = os.path.join(folder, 'staged')
            with open(source, 'w') as file:
                file.write(text)
            maker.storage.storeBlob(p64(oid), base, blob, source, '', meta)
        maker.end(meta)
        return tid

    first = store((1, z64, 'one'), (0x1234, z64, ''))
    second = store((1, first, 'uno'))
    maker.undo(second)
    third = store((3, z64, 'three ' * 100))
    maker.undo(maker.undo(third))
    maker.storage.close()
    shutil.rmtree(os.path.join(directory, 'tmp'))
    shutil.copy(path, os.path.join(HERE, 'blobs.fs'))
    helper = maker.storage.fshelper
    files = []
    for oid, where in helper.listOIDs():
        for file in sorted(os.listdir(where)):
            where_it_is = os.path.join(where, file)
            oid, tid = helper.splitBlobFilename(where_it_is)
            with open(where_it_is) as blob:
                files.append([u64(oid), u64(tid), blob.read()])
    write_json('blobs.json', files)


def main():
    # That no class can be imported which would resolve conflicts is what is wanted here.
    logging.disable()
    folder = tempfile.mkdtemp()
    try:
        path = os.path.join(folder, 'Data.fs')
        maker = make(path)
        maker.storage.close()
        shutil.copy(path, os.path.join(HERE, 'plain.fs'))
        shutil.copy(path + '.index', os.path.join(HERE, 'plain.fs.index'))
        write_json('plain.json', expected(path))

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
        make_undo(folder)
        make_packs(folder)
        make_indexes()
        make_compressed(folder)
        for layout in 'bushy', 'lawn':
            make_blobs(folder, layout)
    finally:
        shutil.rmtree(folder)


if __name__ == '__main__':
    main()
