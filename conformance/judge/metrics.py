"""Reads metrics as Prometheus' own client does, and looks closer where that one is lenient.

Reads {"text": ..., "library": ...}, the metrics and where prometheus_client is, and prints {family: {"type": ..., "samples": [[name, labels, value], ...]}}.
"""

import json
import re
import sys

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*$")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*$")


def check_histogram(family):
    series = {}
    for sample in family.samples:
        labels = dict(sample.labels)
        bound = labels.pop("le", None)
        key = tuple(sorted(labels.items()))
        kind = sample.name[len(family.name):]
        buckets, rest = series.setdefault(key, ([], {}))
        if kind == "_bucket":
            buckets.append((float(bound), sample.value))
        else:
            rest[kind] = sample.value
    for key, (buckets, rest) in series.items():
        assert buckets == sorted(buckets), (family.name, key, "bounds rise, and counts with them")
        counts = [count for _, count in buckets]
        assert counts == sorted(counts), (family.name, key, "buckets are cumulative")
        assert buckets[-1][0] == float("inf"), (family.name, key)
        assert buckets[-1][1] == rest["_count"], (family.name, key)
        assert rest["_sum"] >= 0, (family.name, key)


def main():
    given = json.load(sys.stdin)
    text = given["text"]
    sys.path.insert(0, given["library"])
    from prometheus_client.parser import text_string_to_metric_families

    assert text.endswith("\n")
    families = {}
    seen = set()
    for family in text_string_to_metric_families(text):
        assert family.name not in families, family.name
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram"), (family.name, family.type)
        for sample in family.samples:
            assert NAME.match(sample.name), sample
            assert all(LABEL.match(label) for label in sample.labels), sample
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in seen, ("twice", key)
            seen.add(key)
            if family.type == "counter":
                assert sample.name.endswith("_total"), sample
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name
            check_histogram(family)
        families[family.name] = {
            "type": family.type,
            "samples": [[s.name, s.labels, s.value] for s in family.samples],
        }
    json.dump(families, sys.stdout)


main()
