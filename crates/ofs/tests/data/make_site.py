"""Writes site.fs and site.json beside this file: a site, requests to it, and Zope's answers.

    python make_site.py          # Python 3.11 with Zope 6.3

The site is about names and rights: DTML that finds attributes by acquisition, places with
permissions of their own, several user folders, owners and local roles. The cases have the form of
http.json.
"""

import base64
import io
import json
import os
import shutil
import tempfile
import warnings

warnings.simplefilter("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))
FILE = os.path.join(HERE, "site.fs")
HOST = "localhost:8080"
ZOPE_CONF = """%define INSTANCE {home}
instancehome $INSTANCE
<zodb_db main>
 mount-point /
 <filestorage>
  path {home}/site.fs
 </filestorage>
</zodb_db>
"""
SITE_ZCML = """<configure xmlns="http://namespaces.zope.org/zope"
           xmlns:five="http://namespaces.zope.org/five">
 <include package="Products.Five"/>
 <five:loadProducts/>
 <five:loadProductsOverrides/>
</configure>"""

USERS = [None, "admin:sesame", "ed:edpw", "jo:jopw", "ol:olpw", "dm:dmpw", "x:y"]
PATHS = """/ /a /a/m1 /a/d1 /a/d2 /a/m2 /a/b/m1 /a/b/d1 /a/b/d2 /a/b/a/m2 /o/a/m1 /o/a/d2 /o /o/ /a/css
/a/xml /a/nohtml /a/b/nohtml /a/who /a/f /a/rec /a/cond /a/d1/cond /a/folder /a/fil /a/cp /a/img
/a/txt /fi /fi/ /fi/index_html /priv /priv/pm /priv/secret /priv/pd /priv/leak /leak /priv/pub
/priv/pub/pm2 /priv/pub/pm3 /priv/joleak /priv/proxy /a/priv/pm /aci /aci/am /aci/am2 /aci/af
/aci/a/m1 /own /own/om /own/omgr /own/a/m1 /a/own/om /lr/lm /lr /e/nope /e/boom /e/a/boom /boom
/a/d1/p /a/d1/n /a/m1/title_or_id /priv/title_or_id /priv/getId /aci/title_or_id /aci/getId
/priv/absolute_url /own/getId /own/acl_users/getId /a/hd /a/index_html /a/getProperty""".split()
QUERIES = """x=1 x=a%3Cb x=1&x=2 x=%C3%BC q=5 title=form id=form x= zz=1 p=1""".split()
NAMES = "id title title_or_id title_and_id document_id document_title absolute_url meta_type".split()
REQUEST_NAMES = """URL URL0 URL1 URL2 BASE0 BASE1 BASE2 URLPATH1 BASEPATH2 SERVER_URL REQUEST_METHOD
QUERY_STRING HTTP_HOST HTTP_NOPE SCRIPT_NAME ACTUAL_URL""".split()
GIF = b"GIF89a\x02\x00\x03\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,"


def start(home):
    for name, text in (("zope.conf", ZOPE_CONF.format(home=home)), ("site.zcml", SITE_ZCML)):
        os.makedirs(home + "/etc", exist_ok=True)
        with open(f"{home}/etc/{name}", "w") as file:
            file.write(text)
    from Zope2.Startup.run import configure_wsgi

    configure_wsgi(home + "/etc/zope.conf")
    import Zope2
    from ZPublisher.WSGIPublisher import set_default_authentication_realm

    # What Zope's own WSGI starter takes from its configuration, where this is the default.
    set_default_authentication_realm("Zope")

    Zope2.startup_wsgi()


def build(app):
    from AccessControl.SecurityManagement import newSecurityManager
    from OFS.DTMLDocument import DTMLDocument
    from OFS.DTMLMethod import DTMLMethod
    from OFS.Folder import Folder
    from OFS.Image import File, Image
    from OFS.OrderedFolder import OrderedFolder

    users = app.acl_users

    def act_as(name):
        newSecurityManager(None, users.getUser(name).__of__(users))

    def add(container, item):
        container._setObject(item.getId(), item)
        return container._getOb(item.getId())

    def method(container, id, source, title=""):
        item = DTMLMethod(source, __name__=id)
        item.title = title
        return add(container, item)

    def document(container, id, source, title="", **properties):
        item = DTMLDocument(source, __name__=id)
        item.title = title
        item = add(container, item)
        for name, value in properties.items():
            item.manage_addProperty(name, value, "int" if isinstance(value, int) else "string")
        return item

    def folder(container, id, title="", kind=Folder, view=None):
        item = kind(id)
        item.title = title
        item = add(container, item)
        if view is not None:
            item.manage_permission("View", view, acquire=0)
        return item

    def names(listed):
        return "|".join(f"<dtml-var {name}>" for name in listed)

    users._doAddUser("admin", "sesame", ["Manager"], [])
    users._doAddUser("ed", "edpw", ["Editor"], [])
    users._doAddUser("jo", "jopw", [], [])
    users._doAddUser("dm", "dmpw", ["Manager"], ["10.*"])
    act_as("admin")
    app._delObject("index_html")
    app._addRole("Editor")
    app._addRole("Reader")
    method(app, "hd", "<html><head><title>&dtml-title_or_id;</title></head><body>", "H")
    method(app, "ft", "</body></html>")
    method(app, "index_html", f"<dtml-var hd>{names(['id', 'title', 'absolute_url'])}<dtml-var ft>")
    method(app, "leak", "<dtml-var id> <dtml-var secret>")
    folder(app, "o", kind=OrderedFolder)

    a = folder(app, "a", "A folder")
    folder(a, "b", "B")
    method(a, "m1", names(NAMES), "M one")
    own = names(["p", "n", "q missing=none", "meta_type"])
    document(a, "d1", f"{names(NAMES[:5])}|{own}", "D one", p="pv<>", n=7)
    source = "<dtml-var d1> + <dtml-var m1> + <dtml-var img>|&dtml-p;|<dtml-var title html_quote>"
    document(a, "d2", source, "D <two>", p="x&y")
    method(a, "m2", "<dtml-var d1>#<dtml-var d2>")
    method(a, "css", "Content-Type: text/css\nX-Foo: bar\n  baz\n\na { b: c }")
    method(a, "xml", '<?xml version="1.0"?><a></a>')
    method(a, "nohtml", "plain " + names(REQUEST_NAMES))
    method(a, "who", "<dtml-var AUTHENTICATED_USER>")
    method(a, "f", '<dtml-var x missing="no"> &dtml-x;')
    method(a, "rec", "<dtml-var rec>")
    condition = "<dtml-if p>yes <dtml-var p></dtml-if><dtml-unless zz>nozz</dtml-unless>"
    method(a, "cond", condition + "<dtml-if title>T</dtml-if>")
    method(a, "folder", "<dtml-var o>")
    method(a, "fil", "<dtml-var txt>")
    method(a, "cp", "x").content_type = "text/x-own"
    add(a, Image("img", "", GIF))
    add(a, File("txt", "Text", b"hello text", "text/plain"))
    page = File("index_html", "", b"<html><head></head>FILE</html>", "text/html")
    add(folder(app, "fi", "File index"), page)

    private = folder(app, "priv", "Private", view=["Manager", "Editor"])
    method(private, "pm", "<dtml-var hd><dtml-var secret>|<dtml-var title><dtml-var ft>")
    method(private, "secret", "the secret")
    document(private, "pd", "<dtml-var title> <dtml-var secret>", "PD")
    method(private, "proxy", "<dtml-var secret>")._proxy_roles = ("Manager",)
    public = folder(private, "pub", "Pub in priv", view=["Anonymous"])
    method(public, "pm2", "ok <dtml-var title>")
    method(public, "pm3", "bad <dtml-var secret>")
    act_as("jo")
    method(private, "joleak", "<dtml-var secret>")
    act_as("admin")

    hidden = folder(app, "aci", "No access contents")
    hidden.manage_permission("Access contents information", ["Manager"], acquire=0)
    method(hidden, "am", "<dtml-var title>")
    method(hidden, "am2", "x")
    add(hidden, File("af", "", b"af", "text/plain"))

    own = folder(app, "own", "Own users", view=["Reader"])
    own.manage_addUserFolder()
    own.acl_users._doAddUser("ol", "olpw", ["Manager", "Reader"], [])
    method(own, "om", "own page <dtml-var AUTHENTICATED_USER>")
    method(own, "omgr", "mgr").manage_permission("View", ["Manager"], acquire=0)

    local = folder(app, "lr", "Local", view=["Reader"])
    local.manage_setLocalRoles("jo", ["Reader"])
    method(local, "lm", "local <dtml-var title>")

    errors = folder(app, "e", "E")
    page = "<p><dtml-var error_type>: <dtml-var error_value> &dtml-error_value; <dtml-var id></p>"
    method(errors, "standard_error_message", page)
    method(errors, "boom", "<dtml-var undefined_name>")


def requests():
    for path in PATHS:
        for user in USERS:
            headers = {}
            if user is not None:
                headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
            yield "GET", path, "", headers
        # Zope fails to render the errors of what is not there; these pages are of no use.
        if path not in ("/e/nope", "/e/a/boom", "/a/d1/cond"):
            for verb in ("HEAD", "POST", "OPTIONS", "PUT"):
                yield verb, path, "", {}
    for query in QUERIES:
        for path in ("/a/f", "/a/m1", "/a/d1", "/a/cond", "/a/nohtml", "/a"):
            yield "GET", path, query, {}


def ask(application, method, path, query, headers):
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8080",
        "HTTP_HOST": HOST,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": "0",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    }
    for name, value in headers.items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    expect = {}

    def start_response(status, listed, exc_info=None):
        kept = [(n.lower(), v) for n, v in listed if n.lower() not in ("date", "x-powered-by")]
        expect.update(status=int(status[:3]), headers=sorted(kept))

    try:
        body = b"".join(application(environ, start_response))
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    try:
        expect["body"] = body.decode()
    except UnicodeDecodeError:
        expect["body_latin1"] = body.decode("latin-1")
    return expect


def main():
    home = tempfile.mkdtemp()
    start(home)
    import transaction
    import Zope2
    from Testing.makerequest import makerequest
    from ZPublisher.httpexceptions import HTTPExceptionHandler
    from ZPublisher.WSGIPublisher import publish_module

    app = makerequest(Zope2.app())
    build(app)
    transaction.commit()
    application = HTTPExceptionHandler(publish_module)
    # The first round gives every object its entity tag, which Zope makes when it is asked for.
    for _ in range(2):
        cases = []
        for method, path, query, headers in requests():
            user = headers.get("Authorization", "")[-8:]
            case = {"id": f"{method} {path}?{query} {user}", "method": method, "path": path}
            case.update(query=query, headers=headers, host=HOST, remote_addr="127.0.0.1")
            case["expect"] = ask(application, method, path, query, headers)
            cases.append(case)
    Zope2.DB.pack()
    Zope2.DB.close()
    shutil.copyfile(home + "/site.fs", FILE)
    meta = {"fixture": "site.fs", "source": "Zope 6.3 WSGI publisher"}
    with open(os.path.join(HERE, "site.json"), "w") as file:
        file.write('{"meta": ' + json.dumps(meta) + ', "cases": [\n')
        file.write(",\n".join(json.dumps(case) for case in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
