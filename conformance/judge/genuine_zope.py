"""Genuine Zope in this process: its WSGI application over a given database."""

import io
import os
import sys
import urllib.parse

ZOPE_CONF = """\
instancehome %(instance)s
<zodb_db main>
    %(storage)s
    mount-point /
    cache-size 20000
</zodb_db>
"""

FILE_STORAGE = """<filestorage>
        path %s
    </filestorage>"""

ZEO_STORAGE = """<zeoclient>
        server %s
        storage 1
        name judge
        cache-size 64MB
    </zeoclient>"""


def application(instance, database):
    """The WSGI application of a Zope instance made in the directory `instance`.

    `database` is {"file": path} or {"zeo": "host:port"}.
    """
    os.makedirs(os.path.join(instance, "etc"), exist_ok=True)
    if "file" in database:
        storage = FILE_STORAGE % os.path.abspath(database["file"])
    else:
        storage = ZEO_STORAGE % database["zeo"]
    conf = os.path.join(instance, "etc", "zope.conf")
    with open(conf, "w") as out:
        out.write(ZOPE_CONF % {"instance": os.path.abspath(instance), "storage": storage})
    from Zope2.Startup.run import make_wsgi_app

    return make_wsgi_app({}, conf)


class Answer:
    """What a WSGI application answered to one request."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body


def request(app, method, target, headers=(), body=b"", host="localhost:8080"):
    """Asks the application as a plain WSGI server would, the exception filter of Zope's own
    pipeline included, and returns its `Answer`."""
    path, _, query = target.partition("?")
    name, _, port = host.partition(":")
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": urllib.parse.unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": name,
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "judge",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": host,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if body or method in ("POST", "PUT"):
        environ["CONTENT_LENGTH"] = str(len(body))
    for header, value in headers:
        key = header.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key != "CONTENT_LENGTH":
            environ["HTTP_" + key] = value
    from ZPublisher.httpexceptions import HTTPExceptionHandler

    started = []

    def start_response(status, response_headers, exc_info=None):
        started[:] = [status, response_headers]
        return lambda data: chunks.append(data)

    chunks = []
    result = HTTPExceptionHandler(app)(environ, start_response)
    try:
        for chunk in result:
            chunks.append(chunk)
    finally:
        if hasattr(result, "close"):
            result.close()
    status, response_headers = started
    payload = b"" if method == "HEAD" else b"".join(chunks)
    return Answer(int(status.split()[0]), response_headers, payload)
