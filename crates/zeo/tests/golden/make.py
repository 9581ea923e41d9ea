"""Records conversations with the original ZEO server. Versions: see MANIFEST.md.

    python make.py

Rewrites z5.txt and m5.txt beside it. Transaction ids count up from one, so that the same versions
give the same bytes.
"""

import os
import socket
import struct

from ZEO.asyncio.marshal import encoder
from ZEO.StorageServer import StorageServer
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, z64

HERE = os.path.dirname(os.path.abspath(__file__))
TRANSACTION = 2 ** 46 + 5


class Counting(MappingStorage):
    """A storage whose transaction ids count up from one."""

    count = 0

    def tpc_begin(self, transaction, tid=None, status=' '):
        self.count += 1
        super().tpc_begin(transaction, p64(self.count))

    def tpc_abort(self, transaction):
        if self.tpc_transaction() is not None:
            self.count -= 1
        super().tpc_abort(transaction)


class Client:
    """Says things, and writes down what it says and hears."""

    def __init__(self, address, hello, lines, name):
        self.socket = socket.create_connection(address)
        self.file = self.socket.makefile('rb')
        self.lines = lines
        self.name = name
        self.encode = encoder(hello)
        self.count = 0
        self.hear()
        self.say(hello)

    def say(self, frame):
        self.lines.append(f'{self.name}> {frame.hex()}')
        self.socket.sendall(struct.pack('>I', len(frame)) + frame)

    def hear(self):
        length, = struct.unpack('>I', self.file.read(4))
        frame = self.file.read(length)
        self.lines.append(f'{self.name}< {frame.hex()}')

    def call(self, method, *args, id=None, frames=1):
        self.count += 1
        self.note(method)
        self.say(self.encode(self.count if id is None else id, False, method, args))
        for _ in range(frames):
            self.hear()

    def send(self, method, *args):
        self.note(method)
        self.say(self.encode(0, True, method, args))

    def note(self, text):
        self.lines.append(f'# {text}')

    def begin(self, *stores):
        self.send('tpc_begin', TRANSACTION, b'/ admin', b'/folder', {}, None, ' ')
        for oid, serial, data in stores:
            self.send('storea', p64(oid), serial, data, TRANSACTION)

    def commit(self, *stores):
        self.begin(*stores)
        self.call('vote', TRANSACTION)
        self.call('tpc_finish', TRANSACTION, frames=2)


def conversation(address, hello):
    lines = []
    a = Client(address, hello, lines, 'a')
    a.call('register', 'nonsense', False)
    a.call('register', '1', False)
    a.call('lastTransaction')
    load = p64(1), maxtid
    a.call('loadBefore', *load, id=load)
    b = Client(address, hello, lines, 'b')
    b.call('register', '1', False)
    a.commit((1, z64, b'one'), (2, z64, b'x' * 300))
    b.note('push')
    b.hear()
    b.commit((1, p64(1), b'two'))
    a.note('push')
    a.hear()
    a.call('loadBefore', *load, id=load)
    a.call('loadBefore', p64(1), p64(2), id=(p64(1), p64(2)))
    a.call('loadBefore', p64(1), p64(1))
    a.call('loadBefore', p64(2), maxtid)
    a.call('loadSerial', p64(1), p64(1))
    a.call('getTid', p64(1))
    a.call('getTid', p64(9))
    a.call('getInvalidations', p64(1))
    a.call('getInvalidations', p64(2))
    a.call('ping')
    a.call('undoLog', 0, -20)
    a.say(a.encode(-1, 0, '.reply', None))
    a.note('a conflict, merged')
    a.begin((1, p64(1), b'stale'))
    a.call('vote', TRANSACTION)
    a.send('storea', p64(1), p64(2), b'merged', TRANSACTION)
    a.call('vote', TRANSACTION)
    a.call('vote', TRANSACTION)
    a.call('tpc_finish', TRANSACTION, frames=2)
    b.note('push')
    b.hear()
    a.note('a read conflict')
    a.begin((2, p64(1), b'depends'))
    a.send('checkCurrentSerialInTransaction', p64(1), p64(1), TRANSACTION)
    a.call('vote', TRANSACTION)
    a.call('tpc_abort', TRANSACTION)
    a.note('no transaction')
    a.call('vote', TRANSACTION)
    a.call('tpc_finish', TRANSACTION)
    return lines


def record(hello):
    storages = {'1': Counting('golden')}
    server = StorageServer(
        ('127.0.0.1', 0), storages, client_conflict_resolution=True, msgpack=hello[:1] == b'M')
    server.start_thread()
    try:
        lines = conversation(server.addr, hello)
    finally:
        server.close()
    name = hello.decode().lower() + '.txt'
    with open(os.path.join(HERE, name), 'w') as file:
        file.write('\n'.join(lines) + '\n')


if __name__ == '__main__':
    record(b'Z5')
    record(b'M5')
