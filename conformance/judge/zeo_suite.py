"""ZEO's own test suite against a server that is a program of its own.

Reads one JSON object: `command` (the server's, with `{conf}` in it), `only` (a regular expression
that a test's name has to match, or null), `encoding` ("pickle" or "msgpack"), `tls` (whether every
connection is encrypted), `jobs` (how many tests run at a time) and `seconds` (how long one may
take). Prints one: a map from the test's name to its `outcome` ("passed", "failed" or "skipped"),
how many `servers` it started, and what it `said`.

The suite starts its servers through one function. That is replaced here by one that writes the same
configuration file and starts the command with it; nothing else of the suite is touched.
"""

import contextlib
import faulthandler
import importlib
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

MODULES = (
    "testZEO", "testZEO2", "testConnection", "testConfig", "testConversionSupport",
    "testTransactionBuffer", "testZEOOptions", "testZEOServer", "test_cache",
    "test_client_credentials", "test_client_side_conflict_resolution", "test_marshal", "test_sync",
    "testssl",
)
# Classes that the suite itself leaves out to save time, or hides behind a storage made of Python.
MORE = ("FileStorageTests", "DemoStorageTests")

# How often, and how long, a new server is asked whether it listens.
POLL_SECONDS = 0.02
START_SECONDS = 30
STOP_SECONDS = 20

# What FileStorage.cleanup removes.
SIDECARS = ("", ".old", ".tmp", ".lock", ".index", ".pack", ".zidx")

started = 0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def address_of(text):
    """The address that a configuration names, with a free port in place of 0."""
    found = re.search(r"^\s*address\s+(\S.*?)\s*$", text, re.M).group(1)
    if "/" in found:
        return text, found
    host, _, port = found.rpartition(":")
    if int(port) == 0:
        port = str(free_port())
        text = re.sub(r"(?m)^(\s*address\s+)\S.*$", rf"\g<1>{host}:{port}", text, count=1)
    return text, (host, int(port))


def listens(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    target = address if isinstance(address, str) else (address[0] or "127.0.0.1", address[1])
    with socket.socket(family) as probe:
        try:
            probe.connect(target)
        except OSError:
            return False
        return True


def server_starter(command, with_tls):
    """A `start_zeo_server` that starts `command`."""
    from ZEO import _forker

    def start_zeo_server(storage_conf=None, zeo_conf=None, port=None, keep=False, path="Data.fs",
                         protocol=None, blob_dir=None, suicide=True, debug=False, threaded=False,
                         start_timeout=33, name=None, log=None, show_config=False):
        global started
        if protocol:
            raise unittest.SkipTest(f"the server is told to speak {protocol!r} by patching it")
        if not storage_conf:
            storage_conf = f"<filestorage>\npath {path}\n</filestorage>"
        if blob_dir:
            storage_conf = (f"<blobstorage>\nblob-dir {blob_dir}\n"
                            f"{storage_conf}\n</blobstorage>")
        if zeo_conf is None or isinstance(zeo_conf, dict):
            port = 0 if port is None else port
            made = _forker.ZEOConfig(("127.0.0.1", port) if isinstance(port, int) else port, log=log)
            made.__dict__.update(zeo_conf or {})
            zeo_conf = made
        text = f"{zeo_conf}\n\n{storage_conf}"
        if with_tls and "<ssl>" not in text:
            text = text.replace("</zeo>", with_tls + "</zeo>", 1)
        text, address = address_of(text)
        if show_config:
            print(text)
        handle, conf = tempfile.mkstemp(".conf", prefix="ZEO_forker", dir=os.getcwd())
        with os.fdopen(handle, "w") as file:
            file.write(text)
        said = open(conf + ".said", "w+b")
        arguments = [part.replace("{conf}", conf) for part in command]
        process = subprocess.Popen(arguments, stdout=said, stderr=said)
        started += 1
        running.append(process)
        deadline = time.monotonic() + START_SECONDS
        while not listens(address):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                said.seek(0)
                raise RuntimeError("the server does not start:\n"
                                   + said.read().decode("utf-8", "replace")[-1500:])
            time.sleep(POLL_SECONDS)
        here = os.getcwd()

        def stop(stop_timeout=99):
            end(process)
            said.seek(0)
            heard.append(said.read().decode("utf-8", "replace"))
            said.close()
            os.remove(conf)
            if not keep:
                clean_up(text, here)

        return address, stop

    return start_zeo_server


running = []
# What the servers that have ended said.
heard = []


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError("the server does not stop when it is asked to")


def clean_up(text, here):
    storages = re.findall(r"(?s)<filestorage.*?</filestorage>", text)
    for path in re.findall(r"(?m)^\s*path\s+(\S+)\s*$", "".join(storages)):
        for sidecar in SIDECARS:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(here, path + sidecar))


def prepare(request):
    """Replaces the starter before any module of the suite has taken the original."""
    import ZEO
    from ZEO import _forker

    with_tls = ""
    if request["tls"]:
        # Where the suite keeps its certificates and how both sides use them.
        here = os.path.join(os.path.dirname(ZEO.__file__), "tests")
        with_tls = "".join(
            f"  {line}\n" for line in (
                "<ssl>",
                f"  certificate {here}/server.pem",
                f"  key {here}/server_key.pem",
                f"  authenticate {here}/client.pem",
                "</ssl>",
            )
        )
    _forker.start_zeo_server = server_starter(shlex.split(request["command"]), with_tls)
    if request["encoding"] == "msgpack":
        os.environ["ZEO_MSGPACK"] = "true"
    if request["tls"]:
        from ZEO import ClientStorage
        from ZEO.tests import testssl

        original = ClientStorage.ClientStorage.__init__

        def with_certificates(self, addr, *arguments, **options):
            options.setdefault("ssl", testssl.client_ssl())
            original(self, addr, *arguments, **options)

        ClientStorage.ClientStorage.__init__ = with_certificates


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def collect(only):
    """Every test of the suite, under a name that is the same in every run."""
    tests = {}
    for name in MODULES:
        module = importlib.import_module("ZEO.tests." + name)
        if hasattr(module, "test_suite"):
            suite = module.test_suite()
        else:
            suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        for test in flatten(suite):
            known = test.id()
            known = known.replace(os.path.dirname(module.__file__) + os.sep, "")
            if not known.startswith("ZEO.tests."):
                known = f"ZEO.tests.{name}:{known}"
            while known in tests:
                known += "+"
            tests[known] = test
    testing = importlib.import_module("ZEO.tests.testZEO")
    for name in MORE:
        case = getattr(testing, name)
        for prefix in ("check", "test"):
            loader = unittest.TestLoader()
            loader.testMethodPrefix = prefix
            for test in flatten(loader.loadTestsFromTestCase(case)):
                tests.setdefault(test.id(), test)
    wanted = re.compile(only or "")
    return {name: test for name, test in sorted(tests.items()) if wanted.search(name)}


def run(test, directory, pipe):
    """Runs one test in this process and reports."""
    faulthandler.enable()
    tempfile.tempdir = directory
    os.chdir(directory)
    said = io.StringIO()
    result = unittest.TestResult()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            test.run(result)
    except BaseException:
        result.errors.append((test, traceback.format_exc()))
    for process in running:
        with contextlib.suppress(AssertionError):
            end(process)
    wrong = result.errors + result.failures
    if wrong:
        outcome, message = "failed", wrong[0][1]
        message += "".join("\nThe server said:\n" + each[-1500:] for each in heard[-2:])
    elif result.skipped:
        outcome, message = "skipped", result.skipped[0][1]
    else:
        outcome, message = "passed", ""
    pipe.send({"outcome": outcome, "servers": started, "said": message[-3000:]})
    pipe.close()
    # Threads of the suite that never end must not keep the process.
    os._exit(0)


class Running:
    """A test in a process of its own, which is killed when it takes too long."""

    def __init__(self, name, test, seconds):
        self.name = name
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.directory = tempfile.mkdtemp(prefix="zeo-suite-")
        self.pipe, theirs = multiprocessing.Pipe(False)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            self.pipe.close()
            # What a test prints behind our back must not get into the answer.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            run(test, self.directory, theirs)
        theirs.close()

    def finish(self, overdue):
        answer = None
        if not overdue:
            with contextlib.suppress(EOFError):
                answer = self.pipe.recv()
        if answer is None:
            answer = {"outcome": "failed", "servers": 0,
                      "said": "took too long" if overdue else "its process ended early"}
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pipe.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        answer["seconds"] = round(time.monotonic() - self.began, 2)
        return answer


def run_all(tests, jobs, seconds):
    waiting = list(tests.items())
    going = []
    answers = {}
    while waiting or going:
        while waiting and len(going) < jobs:
            going.append(Running(*waiting.pop(0), seconds))
        multiprocessing.connection.wait([each.pipe for each in going], 1)
        now = time.monotonic()
        for each in list(going):
            overdue = now > each.deadline
            if overdue or each.pipe.poll():
                going.remove(each)
                answers[each.name] = each.finish(overdue)
    return answers


def main():
    request = json.load(sys.stdin)
    prepare(request)
    with contextlib.redirect_stdout(io.StringIO()):
        tests = collect(request["only"])
    answers = run_all(tests, request["jobs"], request["seconds"])
    # Some tests of the suite wait for wall-clock moments: on a busy machine one run proves nothing.
    # What fails is tried once more, alone.
    again = {name: tests[name] for name, answer in answers.items() if answer["outcome"] == "failed"}
    for name, answer in run_all(again, 1, request["seconds"]).items():
        if answer["outcome"] == "passed":
            answer["said"] = "second try; the first: " + answers[name]["said"][-500:]
        answers[name] = answer
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
