"""Makes a Data.fs with genuine Zope that holds content of each kind Zodiac publishes.

make_site.py DIRECTORY writes DIRECTORY/Data.fs (sound in every record, but one object's class does
not exist) and DIRECTORY/damaged.fs (the same, with one record whose state cannot be decoded).
"""

import base64
import hashlib
import hmac
import os
import shutil
import sys

from genuine_zope import application, request

GIF = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAIAAAA2iEnWAAAAEElEQVR4nGP8z8DAwMDEAAEADRgBA6pXa5oAAAAA"
    "SUVORK5CYII="
)
SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10">'
    b'<rect width="20" height="10"/></svg>\n'
)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"

INDEX = (
    "<html><head><title>&dtml-title;</title></head>\n"
    "<body><h1><dtml-var title></h1><p>This is &dtml-id; of <dtml-var site_name>.</p></body></html>\n"
)

# The chunk of a chained File is 64 KiB: one below, on and above each limit.
CHUNK = 1 << 16
FILE_SIZES = {
    "chunk-minus-one.bin": CHUNK - 1,
    "chunk.bin": CHUNK,
    "chunk-plus-one.bin": CHUNK + 1,
    "two-chunks.bin": 2 * CHUNK,
    "two-chunks-plus-one.bin": 2 * CHUNK + 1,
    "several-megabytes.bin": 5 * 1024 * 1024 + 123,
    "ten-kilobytes.bin": 10 * 1024,
    "one-megabyte.bin": 1024 * 1024,
}

# (name, password, how it is stored, roles)
USERS = [
    ("admin", "admin-password", "SSHA", ["Manager"]),
    ("chief", "chief-password", "SHA256", ["Manager"]),
    ("keeper", "keeper-password", "PBKDF2-SHA256", ["Manager"]),
    ("reader", "reader-password", "SSHA", ["Reader"]),
    ("nobody", "nobody-password", "SSHA", []),
]


class Pbkdf2Scheme:
    """PBKDF2 in the form that sites register with AuthEncoding, which brings none of its own."""

    def encrypt(self, password):
        salt = os.urandom(24)
        key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS, 24)
        parts = (str(ITERATIONS).encode(), base64.b64encode(salt), base64.b64encode(key))
        return b"$".join(parts)

    def validate(self, reference, attempt):
        iterations, salt, key = reference.split(b"$")
        found = hashlib.pbkdf2_hmac(
            "sha256", attempt.encode(), base64.b64decode(salt), int(iterations), 24
        )
        return hmac.compare_digest(found, base64.b64decode(key))


ITERATIONS = 10_000


def pattern(size):
    """`size` bytes that differ from place to place, so that a shifted range is noticed."""
    out = bytearray()
    number = 0
    while len(out) < size:
        out += b"%08d " % number
        number += 1
    return bytes(out[:size])


def declare_absent_classes():
    """Classes that only this program knows: their objects are foreign to everyone else."""
    import types

    from OFS.SimpleItem import SimpleItem

    def make(module_name, class_name):
        parts = module_name.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name not in sys.modules:
                module = types.ModuleType(name)
                module.__path__ = []
                sys.modules[name] = module
        kind = type(class_name, (SimpleItem,), {"__module__": module_name, "meta_type": class_name})
        setattr(sys.modules[module_name], class_name, kind)
        return kind

    return (
        make("Products.PythonScripts.PythonScript", "PythonScript"),
        make("vanished.product", "Gadget"),
    )


def fill(root):
    import transaction
    from AuthEncoding.AuthEncoding import pw_encrypt, registerScheme
    from OFS.DTMLDocument import addDTMLDocument
    from OFS.DTMLMethod import addDTMLMethod
    from OFS.Image import manage_addFile, manage_addImage
    from OFS.OrderedFolder import manage_addOrderedFolder
    from Products.PageTemplates.ZopePageTemplate import manage_addPageTemplate

    python_script, gadget = declare_absent_classes()

    root.manage_changeProperties(title="The judged site")
    root.manage_addProperty("site_name", "Zodiac & Zope", "string")
    root.manage_delObjects(["index_html"])
    addDTMLMethod(root, "index_html", file=INDEX)
    root._addRole("Reader")
    registerScheme("PBKDF2-SHA256", Pbkdf2Scheme())
    for name, password, scheme, roles in USERS:
        root.acl_users._doAddUser(name, pw_encrypt(password, scheme).decode("ascii"), roles, [])

    # Folders, nested, with and without an index of their own.
    root.manage_addFolder("plain", "A plain folder")
    root.plain.manage_addFolder("sub", "Sub <folder> & more")
    root.plain.sub.manage_addFolder("deep", "Deep")
    root.manage_addFolder("own", "With an index of its own")
    addDTMLDocument(root.own, "index_html", "Own index", "Own index of &dtml-id;: <dtml-var title>\n")
    root.own.manage_addFolder("below", "Below")
    manage_addOrderedFolder(root, "ordered", "An ordered folder")
    for number in (3, 1, 2):
        manage_addFile(root.ordered, "f%d.txt" % number, b"file %d\n" % number)

    # DTML of the plain kind.
    addDTMLDocument(
        root,
        "readme",
        "Read <me> & smile",
        "<html><head><title>&dtml-title;</title></head>\n<body>\n<p>id: <dtml-var id></p>\n"
        "<p>raw title: <dtml-var title></p>\n<p>by &dtml-author;, <dtml-var count> times, ratio "
        "<dtml-var ratio></p>\n<p><dtml-var site_name></p></body></html>\n",
    )
    root.readme.manage_addProperty("author", 'Ann "A" <ann@example.org>', "string")
    root.readme.manage_addProperty("count", "42", "int")
    root.readme.manage_addProperty("ratio", "2.5", "float")
    addDTMLDocument(root, "text_only", "", "No markup at all, only text.\n")
    addDTMLDocument(root, "umlauts", "Grüße", "<p>Grüße aus Köln, &dtml-title;, 日本</p>\n")
    addDTMLDocument(root, "page", "A page to edit", "<p>first text of &dtml-title;</p>\n")
    addDTMLDocument(root, "page_source", "", "<dtml-var site_name> and &dtml-missing;\n")
    addDTMLMethod(root, "headline", "", "<h2>&dtml-title;</h2>\n")
    addDTMLMethod(root, "footer", "", "<hr><dtml-var id>\n")
    addDTMLMethod(root, "style.css", "", "body { color: black }\n")
    addDTMLMethod(root, "data.xml", "", '<?xml version="1.0"?>\n<data>&dtml-id;</data>\n')
    addDTMLMethod(root.plain, "with_parts", "", "<dtml-var headline>between<dtml-var footer>")
    addDTMLMethod(root, "empty_method", "", "")

    # Files and images.
    root.manage_addFolder("files", "Files")
    files = root.files
    manage_addFile(files, "empty.txt", b"", content_type="text/plain")
    manage_addFile(files, "small.txt", b"a small file\nof two lines\n", "Small")
    manage_addFile(files, "latin.txt", "Grüße\n".encode("latin-1"), content_type="text/plain; charset=iso-8859-1")
    manage_addFile(files, "page.html", b"<html><body>a page</body></html>\n")
    manage_addFile(files, "noextension", b"\x00\x01\x02\x03binary", content_type="application/octet-stream")
    manage_addFile(files, "paper.pdf", b"%PDF-1.4\n%%EOF\n")
    manage_addFile(files, "code.js", b"alert(1);\n")
    for name, size in FILE_SIZES.items():
        manage_addFile(files, name, pattern(size), content_type="application/octet-stream")
    root.manage_addFolder("images", "Images")
    manage_addImage(root.images, "dot.gif", GIF, "A dot")
    manage_addImage(root.images, "dot.png", PNG)
    manage_addImage(root.images, "photo.jpg", JPEG, content_type="image/jpeg")
    manage_addImage(root.images, "drawing.svg", SVG, content_type="image/svg+xml")

    # A place that only some may see.
    root.manage_addFolder("private", "Private")
    manage_addFile(root.private, "secret.txt", b"the secret\n")
    root.private.manage_permission("View", ["Reader", "Manager"], acquire=0)
    root.private.manage_addFolder("inner", "Inner")

    # Places to write to.
    root.manage_addFolder("drop", "Drop")
    for number in range(4):
        root.manage_addFolder("drop%d" % number, "Drop %d" % number)
    manage_addFile(root, "note.txt", b"first note\n", content_type="text/plain")

    # What is not published natively.
    manage_addPageTemplate(root, "template", "A template", "<p tal:content='here/title'>x</p>")
    script = python_script()
    script.id = "script"
    script._body = "return 1\n"
    root._setObject("script", script)
    thing = gadget()
    thing.id = "gadget"
    root._setObject("gadget", thing)
    manage_addFile(root, "damaged.txt", b"the record of this object gets damaged\n")
    transaction.commit()

    # A second history entry, so that not every object is as old as its container.
    root.files._getOb("small.txt").manage_edit("Small, again", "text/plain")
    transaction.commit()

    from persistent.mapping import PersistentMapping

    top = root._p_jar.root()
    top["counter"] = PersistentMapping({"value": 0})
    transaction.commit()
    return root._getOb("damaged.txt")._p_oid


def damage(path, oid):
    """Cuts the state of one object short with a record that is sound as far as the file goes."""
    import transaction
    from ZODB.Connection import TransactionMetaData
    from ZODB.FileStorage import FileStorage
    from ZODB.utils import load_current

    storage = FileStorage(path)
    data, serial = load_current(storage, oid)
    meta = TransactionMetaData(b"", b"damage done on purpose")
    storage.tpc_begin(meta)
    storage.store(oid, serial, data[: len(data) - 20] + b"\xff\xff", "", meta)
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)
    storage.close()
    transaction.abort()


def main():
    directory = sys.argv[1]
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "Data.fs")
    app = application(os.path.join(directory, "instance"), {"file": path})
    request(app, "GET", "/")  # the first request fills the root
    import Zope2

    root = Zope2.app()
    oid = fill(root)
    root._p_jar.close()
    Zope2.DB.close()
    damaged = os.path.join(directory, "damaged.fs")
    shutil.copyfile(path, damaged)
    damage(damaged, oid)
    for leftover in os.listdir(directory):
        if leftover not in ("Data.fs", "damaged.fs", "instance"):
            os.remove(os.path.join(directory, leftover))
    shutil.rmtree(os.path.join(directory, "instance"))


if __name__ == "__main__":
    main()
