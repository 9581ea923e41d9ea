"""Copies a Data.fs by ZODB itself.

Standard input: {"source", "target"}. Standard output, as JSON: "transactions", how many there are.
"""

import json
import sys

from ZODB.FileStorage import FileStorage


def main():
    wanted = json.load(sys.stdin)
    source = FileStorage(wanted["source"], read_only=True)
    target = FileStorage(wanted["target"], create=True)
    target.copyTransactionsFrom(source)
    count = len(list(target.iterator()))
    target.close()
    source.close()
    print(json.dumps({"transactions": count}))


if __name__ == "__main__":
    main()
