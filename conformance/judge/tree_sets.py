"""What the module functions of BTrees make of two trees each.

Reads [{"family", "left": {"shape", "items"}, "right": the same, "weights": [left, right]}], items as [[key, value], ...].
Prints for each {"union", "intersection", "difference", "weightedUnion", "weightedIntersection", "multiunion"}: the items
that come out, with the value null in sets; for the weighted ones [weight, items]; null where the family has no such
function.
"""
import json
import sys


def made(module, family, tree):
    found = getattr(module, family + tree["shape"])()
    for key, value in tree["items"]:
        if tree["shape"] in ("BTree", "Bucket"):
            found[key] = value
        else:
            found.add(key)
    return found


def plain(found):
    if hasattr(found, "items"):
        return [[key, value] for key, value in found.items()]
    return [[key, None] for key in found]


def main():
    said = []
    for asked in json.load(sys.stdin):
        family = asked["family"]
        module = __import__("BTrees.%sBTree" % family, {}, {}, ["x"])
        left = made(module, family, asked["left"])
        right = made(module, family, asked["right"])
        outcome = {}
        for name in ("union", "intersection", "difference"):
            outcome[name] = plain(getattr(module, name)(left, right))
        for name in ("weightedUnion", "weightedIntersection"):
            function = getattr(module, name, None)
            if function is None:
                outcome[name] = None
            else:
                weight, found = function(left, right, *asked["weights"])
                outcome[name] = [weight, plain(found)]
        function = getattr(module, "multiunion", None)
        outcome["multiunion"] = function and plain(function([left, right, left]))
        said.append(outcome)
    json.dump(said, sys.stdout)


main()
