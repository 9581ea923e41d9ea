"""Genuine Zope on a socket, as `runwsgi` sets it up: waitress, the exception filter, Zope.

zope_waitress.py INSTANCE ZEO-ADDRESS PORT THREADS; prints "ready" when it has answered a request.
"""

import sys

from genuine_zope import application, request
from waitress import create_server
from ZPublisher.httpexceptions import HTTPExceptionHandler


def main():
    instance, zeo, port, threads = sys.argv[1:]
    app = application(instance, {"zeo": zeo})
    request(app, "GET", "/")
    server = create_server(
        HTTPExceptionHandler(app), host="127.0.0.1", port=int(port), threads=int(threads)
    )
    print("ready", flush=True)
    server.run()


if __name__ == "__main__":
    main()
