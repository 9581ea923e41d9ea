"""Restores what power losses left of repositories, many in one process, with genuine repozo.

Standard input: {"folders": [path, ...]}, each with a repository in "repository". Standard output: for each
folder {"error"}, where repozo restores nothing, or {"digest"}, of the bytes that it restored.
"""

import contextlib
import hashlib
import io
import json
import os
import sys

from ZODB.scripts import repozo


def judge(folder):
    repository = os.path.join(folder, "repository")
    out = os.path.join(folder, "restored.fs")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            repozo.main(["-R", "-r", repository, "-o", out])
            repozo.main(["-V", "-r", repository])
    except (Exception, SystemExit) as error:
        return {"error": "%s: %s %s" % (type(error).__name__, error, said.getvalue())}
    with open(out, "rb") as file:
        return {"digest": hashlib.sha1(file.read()).hexdigest()}


def main():
    print(json.dumps([judge(folder) for folder in json.load(sys.stdin)["folders"]]))


if __name__ == "__main__":
    main()
