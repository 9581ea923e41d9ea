"""Serves a database with genuine Zope, in process.

Standard input: first one JSON line {"instance": dir, "database": {"file": path} | {"zeo":
"host:port"}}, then one JSON line per request {"method", "target", "headers": [[name, value]],
"body": base64, "host"}. Standard output: {"ready": true}, then one JSON line per answer
{"status", "headers", "body": base64}. Ends with its input.
"""

import base64
import json
import logging
import os
import sys

from genuine_zope import application, request


def main():
    # Zope and its products may print; the protocol keeps standard output to itself.
    protocol = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)

    def say(value):
        protocol.write(json.dumps(value) + "\n")
        protocol.flush()

    head = json.loads(sys.stdin.readline())
    app = application(head["instance"], head["database"])
    request(app, "GET", "/")  # starts what Zope starts lazily
    say({"ready": True})
    for line in sys.stdin:
        wanted = json.loads(line)
        try:
            answer = request(
                app,
                wanted["method"],
                wanted["target"],
                wanted.get("headers", ()),
                base64.b64decode(wanted.get("body", "")),
                wanted.get("host", "localhost:8080"),
            )
        except Exception as error:  # a WSGI server would answer 500 here
            say({"status": 500, "headers": [], "body": "", "error": repr(error)})
            continue
        say(
            {
                "status": answer.status,
                "headers": answer.headers,
                "body": base64.b64encode(answer.body).decode("ascii"),
            }
        )


if __name__ == "__main__":
    main()
