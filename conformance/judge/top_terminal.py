"""`zodiac top` in a terminal: what it shows there, and how it leaves it.

Standard input: {"zodiac": the binary, "folder": an empty directory}. Standard output: {"resized": [rows,
columns, the most lines and the longest line of a view after that], "away": the first line while the server
is gone, "back": whether a server that was started anew is shown, "ends": {what ended it: {"status": ...,
"is_as_before": whether the terminal's modes are those from before, "said": what it wrote last}},
"seconds_to_end": how long it took to end while the server did not answer}.
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.request

PATIENCE = 30
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % listener.getsockname()[1]


class Server:
    def __init__(self, zodiac, folder, address):
        data = os.path.join(folder, "Data.fs")
        arguments = ["zeo", "--data", data, "--listen", "127.0.0.1:0", "--metrics", address]
        log = open(os.path.join(folder, "log"), "ab")
        self.process = subprocess.Popen([zodiac, *arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"http://{address}/readyz", timeout=5):
                    return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise

    def end(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0


class Top:
    """The program in a terminal of its own."""

    def __init__(self, zodiac, address):
        self.master, self.slave = pty.openpty()
        self.resize(30, 100)
        self.before = termios.tcgetattr(self.slave)
        self.said = ""
        self.process = subprocess.Popen(
            [zodiac, "top", "--address", address, "--interval", "0.1"],
            stdin=self.slave, stdout=self.slave, stderr=self.slave,
            env=dict(os.environ, TERM="xterm"), start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, deadline):
        left = max(0, deadline - time.monotonic())
        assert select.select([self.master], [], [], left)[0], "nothing new:\n" + self.said[-3000:]
        self.said += os.read(self.master, 65536).decode()

    def view(self, wanted):
        """The lines of the first whole view from now on that is `wanted`."""
        self.said = ""
        deadline = time.monotonic() + PATIENCE
        while True:
            # What comes before the first place is cut, and the last one may not be whole.
            for view in self.said.split("\x1b[H")[1:]:
                if "\x1b[J" not in view:
                    continue
                lines = ESCAPE.sub("", view.partition("\x1b[J")[0])
                lines = lines.replace("\r", "").split("\n")
                if wanted(lines):
                    return lines
            self.read(deadline)

    def end(self):
        """What became of it, and of the terminal."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None or select.select([self.master], [], [], 0)[0]:
            if select.select([self.master], [], [], 0.02)[0]:
                self.read(deadline)
            assert time.monotonic() < deadline, self.said[-3000:]
        found = {
            "status": self.process.returncode,
            "is_as_before": termios.tcgetattr(self.slave) == self.before,
            "said": self.said[self.said.rfind("\x1b[J") + 3:],
        }
        os.close(self.master)
        os.close(self.slave)
        return found


def is_ready(lines):
    return "  READY" in lines[0]


def silent(status):
    """A server that answers once, and then takes requests and says nothing; set when it took one."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked = threading.Event()

    def serve():
        client, _ = listener.accept()
        client.recv(65536)
        client.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + status)
        client.close()
        client, _ = listener.accept()
        client.recv(65536)
        asked.set()
        threading.Event().wait()

    threading.Thread(target=serve, daemon=True).start()
    return "127.0.0.1:%d" % listener.getsockname()[1], asked


def main():
    wanted = json.load(sys.stdin)
    zodiac, folder = wanted["zodiac"], wanted["folder"]
    address = free_address()
    server = Server(zodiac, folder, address)
    found = {"ends": {}}

    top = Top(zodiac, address)
    top.view(is_ready)
    top.resize(9, 61)
    lines = top.view(lambda lines: len(lines) <= 9)
    found["resized"] = [9, 61, len(lines), max(map(len, lines))]
    server.end()
    found["away"] = top.view(lambda lines: "NO ANSWER" in lines[0])[0]
    server = Server(zodiac, folder, address)
    top.resize(30, 120)
    pid = f"pid {server.process.pid}"
    found["back"] = bool(top.view(lambda lines: is_ready(lines) and pid in lines[0]))
    os.write(top.master, b"\x03")
    found["ends"]["^C"] = top.end()

    for name, end in [
        ("q", lambda top: os.write(top.master, b"xq")),
        ("SIGINT", lambda top: top.process.send_signal(signal.SIGINT)),
        ("SIGTERM", lambda top: top.process.send_signal(signal.SIGTERM)),
        ("SIGHUP", lambda top: top.process.send_signal(signal.SIGHUP)),
    ]:
        top = Top(zodiac, address)
        top.view(is_ready)
        end(top)
        found["ends"][name] = top.end()

    with urllib.request.urlopen(f"http://{address}/status", timeout=5) as answer:
        address, asked = silent(answer.read())
    server.end()
    top = Top(zodiac, address)
    assert asked.wait(PATIENCE)
    started = time.monotonic()
    os.write(top.master, b"\x03")
    found["ends"]["^C, no answer"] = top.end()
    found["seconds_to_end"] = time.monotonic() - started
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
