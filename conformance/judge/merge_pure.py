"""What a ZODB without C extensions makes of conflicts.

Reads the list that merge.py prints. Prints one JSON value: for each case, the merged record or the name of the
error and, for BTreesConflictError, its number.
"""
import base64
import json
import os
import sys

os.environ["PURE_PYTHON"] = "1"

import merge  # noqa: E402
from BTrees.OOBTree import OOBTree, OOBTreePy  # noqa: E402


def main():
    assert OOBTree is OOBTreePy, "there is no other"
    merge.listen()
    cases = json.load(sys.stdin)
    json.dump([merge.outcome(*map(base64.b64decode, case["records"])) for case in cases], sys.stdout)


if __name__ == "__main__":
    main()
