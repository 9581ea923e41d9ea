"""Writes acquisition.txt: what genuine Acquisition 6.4 finds in random trees.

    python make.py          # Python 3.11 with Acquisition

A line that begins with `=` is a tree: the paths of its objects. The lines after it are
`path name found`: traverse the path by attribute access, acquire the name from there.
"""

import os
import random

from Acquisition import Implicit

NAMES = "abcx"


class Item(Implicit):
    def __init__(self, path):
        self.path = path


class Request(Implicit):
    pass


def tree(random):
    paths = []
    for _ in range(random.randint(4, 12)):
        path = random.choice(["", *paths]) + "/" + random.choice(NAMES)
        if path not in paths and path.count("/") <= 4:
            paths.append(path)
    items = {"": Item("")}
    for path in paths:
        container, name = path.rsplit("/", 1)
        items[path] = Item(path)
        setattr(items[container], name, items[path])
    return paths, items[""].__of__(Request())


def main():
    rng = random.Random(6)
    with open(os.path.join(os.path.dirname(__file__), "acquisition.txt"), "w") as file:
        for _ in range(60):
            paths, root = tree(rng)
            print("=", *paths, file=file)
            for _ in range(12):
                item, steps = root, []
                for _ in range(rng.randint(1, 6)):
                    name = rng.choice(NAMES)
                    following = getattr(item, name, None)
                    if following is None:
                        continue
                    item, steps = following, [*steps, name]
                name = rng.choice(NAMES)
                found = getattr(item, name, None)
                if steps:
                    path = "nothing" if found is None else found.path
                    print("/" + "/".join(steps), name, path, file=file)


if __name__ == "__main__":
    main()
