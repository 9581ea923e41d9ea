"""Writes members.txt and types.txt beside this file, from the Zope that is installed.

    python make.py          # Python 3.11 with Zope 6.3

members.txt has a line for each attribute of the stock classes that a URL could name:

    name  classes  publish  requires

`classes` are the letters in instances() below. `publish` is `-` (never), `+` (always), `o` (always,
and the attribute is an object and no method), a verb, or `0` for an attribute that is None. `requires` is `=` (nothing of its own), `*` (public), `!` (private),
`:Role,Role`, or `permission|Role,Role` with the roles that have it where it is set nowhere. The
lines that begin with `_` are the permissions' settings of the application class.

types.txt has `.extension type` for the guess from a name, `type .extension` for the reverse,
`>.suffix .replacement` for suffixes that stand for two, and `.suffix =encoding` for compression.
"""

import mimetypes
import os
import sys
import tempfile
import types
import warnings

warnings.simplefilter("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))
ZOPE_CONF = """%%define INSTANCE %s
instancehome $INSTANCE
<zodb_db main>
 mount-point /
 <mappingstorage>
 </mappingstorage>
</zodb_db>
"""
SITE_ZCML = """<configure xmlns="http://namespaces.zope.org/zope"
           xmlns:five="http://namespaces.zope.org/five">
 <include package="Products.Five"/>
 <five:loadProducts/>
 <five:loadProductsOverrides/>
</configure>"""


def start_zope():
    home = tempfile.mkdtemp()
    for name, text in (("zope.conf", ZOPE_CONF % home), ("site.zcml", SITE_ZCML)):
        os.makedirs(home + "/etc", exist_ok=True)
        with open(f"{home}/etc/{name}", "w") as file:
            file.write(text)
    os.makedirs(home + "/var")
    from Zope2.Startup.run import configure_wsgi

    configure_wsgi(home + "/etc/zope.conf")
    import Zope2
    from Testing.makerequest import makerequest

    return makerequest(Zope2.app())


def instances(app):
    from OFS.DTMLDocument import DTMLDocument
    from OFS.DTMLMethod import DTMLMethod
    from OFS.Folder import Folder
    from OFS.Image import File, Image
    from OFS.OrderedFolder import OrderedFolder
    from webdav.NullResource import NullResource

    def placed(item):
        app._setObject(item.getId(), item)
        return getattr(app, item.getId())

    return {
        "A": app,
        "F": placed(Folder("f")),
        "R": placed(OrderedFolder("r")),
        "B": placed(File("b", "", b"abc")),
        "I": placed(Image("i", "", b"abc")),
        "M": placed(DTMLMethod("", __name__="m")),
        "D": placed(DTMLDocument("", __name__="d")),
        "U": app.acl_users,
        "N": NullResource(app, "n", app.REQUEST).__of__(app),
    }


ABSENT = object()


def publish(value):
    from ZPublisher import zpublish_mark
    from ZPublisher.BaseRequest import typeCheck

    if value is None:
        return "0"
    mark = zpublish_mark(value, None)
    if mark is None:
        mark = bool(typeCheck(value) and getattr(value, "__doc__", None))
    if isinstance(mark, tuple):
        (verb,) = mark
        return verb
    if not mark:
        return "-"
    return "+" if isinstance(value, (types.MethodType, types.FunctionType)) else "o"


def requires(cls, name, value):
    from AccessControl.PermissionRole import PermissionRole
    from Acquisition import aq_base

    if name == "__roles__":
        roles = next(c.__dict__[name] for c in cls.__mro__ if name in c.__dict__)
    else:
        roles = getattr(type(aq_base(value)), "__roles__", ABSENT)
        if not isinstance(roles, (PermissionRole, tuple, type(None))):
            roles = getattr(cls, name + "__roles__", ABSENT)
    if roles is ABSENT:
        return "="
    if roles is None:
        return "*"
    if isinstance(roles, (tuple, list)):
        return ":" + ",".join(roles) if roles else "!"
    return f"{roles.__name__}|{','.join(roles._d)}"


def write_members(app):
    rows = {}
    for letter, instance in instances(app).items():
        cls = type(instance.aq_base)
        for name in sorted({name for c in cls.__mro__ for name in c.__dict__}):
            is_private = name.startswith("_") or name.endswith("__roles__")
            if is_private and name not in ("__call__", "__roles__", "__allow_groups__"):
                continue
            value = getattr(instance, name, ABSENT)
            if value is ABSENT:
                continue
            row = (name, publish(value), requires(cls, name, value))
            rows[row] = rows.get(row, "") + letter
    with open(HERE + "/members.txt", "w") as file:
        for (name, mark, need), letters in sorted(rows.items()):
            print(name, letters, mark, need, sep="\t", file=file)
        for cls in type(app.aq_base).__mro__:
            for name, roles in sorted(cls.__dict__.items()):
                if name.startswith("_") and name.endswith("_Permission"):
                    print(name, ",".join(roles), sep="\t", file=file)


def write_types():
    import zope.contenttype

    table = mimetypes.MimeTypes()
    table.read(os.path.join(os.path.dirname(zope.contenttype.__file__), "mime.types"))
    with open(HERE + "/types.txt", "w") as file:
        known = {**table.types_map[False], **table.types_map[True]}
        for suffix, kind in sorted(known.items()):
            print(suffix, kind, file=file)
        for kind in sorted(set(known.values())):
            print(kind, table.guess_extension(kind, strict=False), file=file)
        for suffix, replacement in sorted(table.suffix_map.items()):
            print(">" + suffix, replacement, file=file)
        for suffix, encoding in sorted(table.encodings_map.items()):
            print(suffix, "=" + encoding, file=file)


if __name__ == "__main__":
    assert sys.version_info[:2] == (3, 11), "the tables are those of Python 3.11"
    write_types()
    write_members(start_zope())
