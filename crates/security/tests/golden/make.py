"""Writes golden.json: what AuthEncoding 6.1 and AccessControl 7.5 answer, case by case.

Run it with a Python that has Zope 6.3 installed: python make.py > golden.json
Deterministic: salts are fixed here, domains are checked without the DNS.
"""

import base64
import json
import random
import socket
import sys

from AccessControl import users
from AccessControl.PermissionRole import _what_not_even_god_should_do
from AccessControl.PermissionRole import rolesForPermissionOn
from AccessControl.userfolder import BasicUserFolder
from Acquisition import Implicit
from AuthEncoding import AuthEncoding
from zExceptions import BadRequest

# The genuine code asks the DNS for unknown hosts. The golden values must not depend on it.
def no_dns(*_args):
    raise OSError("no DNS here")


socket.gethostbyaddr = socket.gethostbyname = no_dns


def latin1(data):
    return data.decode("latin-1")


def passwords():
    words = ["", "secret", "with space", "ä", "ß€", "日本", "x" * 200, "{SSHA}", "a:b"]
    ssha = AuthEncoding.SSHADigestScheme()
    for word in words:
        stored = [
            b"{SSHA}" + ssha._encrypt_with_salt(word, salt)
            for salt in (b"", b"seven77", bytes(range(12)))
        ]
        stored += [AuthEncoding.pw_encrypt(word, scheme) for scheme in ("SHA", "SHA256")]
        stored += [AuthEncoding.to_bytes(word)]
        stored += [stored[1][:-1], stored[1] + b"=", stored[1] + b"\n", stored[4].upper()]
        for reference in stored:
            for attempt in dict.fromkeys([word, word + "x", "secret", latin1(reference)]):
                yield {
                    "stored": latin1(reference),
                    "attempt": attempt,
                    "valid": bool(AuthEncoding.pw_validate(reference, attempt)),
                }
    for word in words:
        yield {"password": word, "salt": "seven77",
               "encoded": latin1(b"{SSHA}" + ssha._encrypt_with_salt(word, b"seven77"))}


def headers():
    def token(text):
        return base64.b64encode(text.encode("utf-8")).decode()

    good = token("ann:secret")
    raw = [
        "", "Basic", "Basic ", "Bearer x", f"Basic {good}", f"basic {good}", f"BASIC  {good}",
        f"Basic {good} ", f"Basic x {good}", f"Basic\t{good}", f"Basic {good}\n", "Basic %%%",
        "Basic YQ", "Basic YQ=", "Basic YQ==", "Basic YTpi", "Basic Y-T.pi", "Basic YQ==YTpi",
        "Basic =YTpi", "Basic Y=Tpi", "Basic YT=pi", "Basic YTp=i", "Basic YTp=", "Basic YT=p=i",
        "Basic " + token("nocolon"), "Basic " + token(":"), "Basic " + token(":p"),
        "Basic " + token("n:"), "Basic " + token("a:b:c"), "Basic " + token("ä:ß€"),
        "Basic " + base64.b64encode(b"\xe4:x").decode(), "Basic " + good.rstrip("="),
    ]
    chance = random.Random(7)
    for _ in range(200):
        raw.append("Basic " + "".join(chance.choice("YTpi=QA9-") for _ in range(chance.randrange(12))))
    folder = BasicUserFolder()
    for header in dict.fromkeys(raw):
        try:
            name, password = folder.identify(header)
            answer = None if name is None else [name, password]
        except BadRequest:
            answer = "BadRequest"
        yield {"header": header, "answer": answer}


class Node(Implicit):
    def __init__(self, setting, local):
        for name, value in setting.items():
            setattr(self, name, value)
        if local:
            self.__ac_local_roles__ = local


def spell(value):
    if value is None:
        return {"public": True}
    if isinstance(value, tuple):
        return {"only": list(value)}
    if isinstance(value, list):
        return {"acquire": value}
    return {"renamed": value}


def chain(levels):
    """Objects from the root (last) down to the object (first), wrapped in one another."""
    node = None
    for setting, local in reversed(levels):
        fresh = Node(setting, local)
        node = fresh if node is None else fresh.__of__(node)
    return node


def permissions():
    choices = [
        {}, {"_View_Permission": ("Manager",)}, {"_View_Permission": ["Editor"]},
        {"_View_Permission": ()}, {"_View_Permission": []}, {"_View_Permission": None},
        {"_View_Permission": "_Edit_it_Permission"}, {"_View_Permission": ""},
        {"_Edit_it_Permission": ("Editor",)}, {"_Edit_it_Permission": ["Owner"]},
        {"_View_Permission": ["Owner"], "_Edit_it_Permission": ("Reviewer",)},
    ]
    chance = random.Random(11)
    for _ in range(300):
        levels = [(chance.choice(choices), None) for _ in range(chance.randrange(1, 5))]
        roles = rolesForPermissionOn("View", chain(levels))
        yield {
            "permission": "View",
            "levels": [{k: spell(v) for k, v in setting.items()} for setting, _ in levels],
            "roles": "private" if roles is _what_not_even_god_should_do else list(roles),
        }


def access():
    roles = ["Manager", "Owner", "Editor", "Authenticated", "Anonymous"]
    chance = random.Random(13)
    for _ in range(300):
        name = chance.choice(["ann", "bob", "Anonymous User"])
        own = chance.sample(roles[:3], chance.randrange(0, 3))
        required = chance.choice([None, "private"] + [chance.sample(roles, n) for n in (0, 1, 1, 1, 2)])
        local = [
            {user: chance.sample(roles[:3], 1) for user in chance.sample(["ann", "bob"], chance.randrange(0, 3))}
            for _ in range(3)
        ]
        inside = chance.choice([True, True, False])
        root = Node({}, local[2])
        middle = Node({}, local[1]).__of__(root)
        leaf = Node({}, local[0]).__of__(middle)
        holder = root if inside else Node({}, None).__of__(root)
        folder = Node({}, None).__of__(holder)
        user = users.SimpleUser(name, "", own, []).__of__(folder)
        passed = _what_not_even_god_should_do if required == "private" else required
        emergency = users.UnrestrictedUser("rescue", "x", ("manage",), [])
        yield {
            "name": name, "roles": own, "required": required, "local": local, "inside": inside,
            "allowed": bool(user.allowed(leaf, passed)),
            "emergency": bool(emergency.allowed(leaf, passed)),
            "user_roles": list(user.getRoles()),
        }


class Request(dict):
    def getClientAddr(self):
        return self["address"]


def domains():
    specs = [
        ["*"], ["127.0.0.1"], ["127.*"], ["127.0.*"], ["127.0.0.*"], ["10.*", "127.0.0.1"], ["1.*.3"],
        ["example.org"], ["org"], ["www.example.org"], ["*.example.org"], ["a_b.example.org"],
        ["host_name"], ["127.0.0"], ["127.0.0.1.5"], ["1234.0.0.1"], ["*", "x"], ["127.0.0.1x"], ["-"],
    ]
    clients = [("127.0.0.1", "www.example.org"), ("10.1.2.3", "a_b.example.org"), ("::1", "org"),
               ("192.0.2.7", "host-name"), ("127.0.0.2", "x"), ("127.0.0.1", "-")]
    for spec in specs:
        for address, host in clients:
            request = Request(address=address, REMOTE_HOST=host)
            yield {"spec": spec, "address": address, "host": host,
                   "match": bool(users.domainSpecMatch(spec, request))}


if __name__ == "__main__":
    groups = {f.__name__: list(f()) for f in (passwords, headers, permissions, access, domains)}
    rows = [f'"{name}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]"
            for name, cases in groups.items()]
    sys.stdout.write("{\n" + ",\n".join(rows) + "\n}\n")
