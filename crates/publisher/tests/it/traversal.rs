//! Names of a path.

use crate::toy::Tree;

fn site() -> Tree {
    Tree::of(&["/a", "/a/b", "/a/b.c", "/ü", "/p", "/p/index_html", "/p/q"])
}

#[test]
fn names_are_followed_one_by_one() {
    let site = site();
    for (path, expected) in [
        ("/a/b", "/a/b"),
        ("//a//b/", "/a/b"),
        ("/./a/./b", "/a/b"),
        ("/a/x/../b", "/a/b"),
        ("/a/b.c", "/a/b.c"),
        ("/%C3%BC", "/ü"),
        ("/a%2Fb", "/a/b"),
    ] {
        assert_eq!(site.get(path), (200, expected.to_owned()), "{path}");
    }
}

#[test]
fn what_must_not_be_named_is_not_found() {
    let site = site();
    for path in [
        "/..",
        "/a/../..",
        "/REQUEST",
        "/a/aq_self",
        "/a/aq_base",
        "/a/_p_jar",
        "/a/__class__",
        "/a/id",
        "/a/hidden",
        "/a/@@nope",
        "/nope",
        "/a/nope",
    ] {
        assert_eq!(site.get(path).0, 404, "{path}");
    }
    assert_eq!(site.get("/%FF").0, 400, "a path is UTF-8");
}

#[test]
fn the_page_names_what_was_not_found() {
    let site = site();
    assert!(
        site.get("/a/nope")
            .1
            .contains("<b>Resource:</b> http://h/a/nope<")
    );
    // The root answers in its own words.
    assert!(site.get("/nope").1.contains("<b>Resource:</b> nope\nGET<"));
    assert!(site.get("/a/_x").1.contains("<b>Resource:</b> _x<"));
}

#[test]
fn a_folder_shows_its_page_to_browsers_only() {
    let site = site();
    assert_eq!(site.get("/p").1, "/p/index_html");
    assert_eq!(site.get("/p/q").1, "/p/index_html", "the page is acquired");
    assert_eq!(site.get("/p/a").1, "/p/index_html", "from the context, too");
    assert_eq!(site.ask("POST", "/p").1, "/p/index_html");
    assert_eq!(site.ask("FOO", "/p").1, "/p");
}

#[test]
fn a_method_may_insist_on_its_verb() {
    let site = site();
    assert_eq!(site.get("/a/b/by_post").0, 404);
    assert_eq!(
        site.ask("POST", "/a/b/by_post"),
        (200, "/a/b by_post".to_owned())
    );
}

#[test]
fn other_verbs_do_not_act_on_what_is_acquired() {
    let site = site();
    assert_eq!(site.ask("FOO", "/a/b").0, 200);
    assert_ne!(site.ask("FOO", "/a/%C3%BC").0, 200, "it is the root's");
    assert_eq!(site.get("/a/%C3%BC").0, 200);
}
