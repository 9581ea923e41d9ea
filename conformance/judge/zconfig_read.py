"""Reads configurations of ZEO servers with the genuine ZConfig and runzeo's schema.

Standard input: {"name": the path that each text is said to have, "texts": [text, ...]}. Standard
output: for each text {"root": the root section} or {"error": what was said}. A section is {"kind",
"name", "keys": {key: value}, "sections": [...]} in the order of the schema.
"""

import io
import json
import math
import os
import pathlib
import sys

import ZConfig
import ZEO
from ZConfig.components.logger.handlers import HandlerFactory
from ZConfig.components.logger.logger import LoggerFactory
from ZConfig.components.logger.logger import LoggerFactoryBase
from ZConfig.datatypes import SocketAddress

SCHEMA = os.path.join(os.path.dirname(ZEO.__file__), "schema.xml")


def plain(value):
    if isinstance(value, SocketAddress):
        return {"socket": value.address}
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def dump(value):
    if isinstance(value, LoggerFactoryBase):
        keys = {"level": value.level}
        kind = "eventlog"
        if isinstance(value, LoggerFactory):
            kind = "logger"
            keys.update(propagate=value.propagate, name=value.name)
        return {
            "kind": kind,
            "name": None,
            "keys": keys,
            "sections": [dump(handler) for handler in value.handler_factories],
        }
    if isinstance(value, HandlerFactory):
        value = value.section
    elif not hasattr(value, "getSectionType"):
        value = value.config
    definition = value.getSectionDefinition()
    keys, sections = {}, []
    for _, info in definition:
        found = getattr(value, info.attribute)
        if not info.issection():
            keys[info.name] = (
                [plain(one) for one in found] if info.ismulti() and info.name != "+" else plain(found))
        elif info.ismulti():
            sections.extend(dump(one) for one in found)
        elif found is not None:
            sections.append(dump(found))
    name = value.getSectionName()
    if definition.name is None:
        return {"kind": "", "name": None, "keys": keys, "sections": sections}
    return {"kind": definition.name, "name": name, "keys": keys, "sections": sections}


def main():
    asked = json.load(sys.stdin)
    url = pathlib.Path(asked["name"]).as_uri()
    schema = None
    answers = []
    for text in asked["texts"]:
        if schema is None:
            schema = ZConfig.loadSchema(SCHEMA)
        try:
            config, _ = ZConfig.loadConfigFile(schema, io.StringIO(text), url)
            answers.append({"root": dump(config)})
        except (Exception, RecursionError) as error:
            answers.append({"error": "%s: %s" % (type(error).__name__, error)})
        if "%import" in text:
            schema = None  # what was imported stays known to the schema
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
