//! What is not known is refused, and a damaged object costs only who needs it.

use zodb::{ClassName, Reference};

use crate::toy::Tree;

#[test]
fn an_unknown_class_is_named() {
    let site = Tree::of(&["/a", "/b"]);
    site.damage(1, b"\x80\x03cother.product\nThing\nq\x01.}q\x02.");
    for path in ["/a", "/a/b", "/b/a"] {
        let (status, page) = site.get(path);
        assert_eq!(status, 501, "{path}");
        assert!(
            page.contains("other.product.Thing is not published natively yet"),
            "{page}"
        );
    }
    assert_eq!(site.get("/b").0, 200);
}

#[test]
fn a_damaged_object_costs_one_request() {
    let site = Tree::of(&["/a", "/b"]);
    site.damage(1, b"\x80\x03no pickle");
    let (status, page) = site.get("/a");
    assert_eq!(status, 500);
    assert!(page.contains("0x02"), "the page names the object: {page}");
    assert_eq!(site.get("/b").0, 200);
}

#[test]
fn unknown_traversal_hooks_refuse_their_folder() {
    let site = Tree::of(&["/a", "/b"]);
    site.change(1, |pickles, state| {
        let class = pickles.global("Products.CookieLogin", "Hook");
        let args = pickles.tuple(Vec::new());
        let hook = pickles.new_object(class, args, None);
        pickles.dict_set(state, "__before_publishing_traverse__", hook);
    });
    let (status, page) = site.get("/a");
    assert_eq!(status, 501);
    assert!(page.contains("Products.CookieLogin.Hook"), "{page}");
    assert_eq!(site.get("/b").0, 200);
}

#[test]
fn unknown_user_folders_let_nobody_in() {
    let site = Tree::of(&["/a", "/b"]);
    // Even what is public: the folder could log somebody in, or refuse.
    site.change(1, |pickles, state| {
        let users = Reference::Strong {
            oid: storage::Oid::new(3),
            class: Some(ClassName::new("toy", "Toy")),
        };
        let users = users.write(pickles);
        pickles.dict_set(state, "__allow_groups__", users);
    });
    assert_eq!(site.get("/a").0, 501);
    assert_eq!(site.get("/b").0, 200);
}

#[test]
fn converters_in_a_form_are_refused() {
    let site = Tree::of(&["/a"]);
    assert_eq!(site.get("/a?hidden:method=1").0, 501);
    assert_eq!(site.get("/a?n:int=1").0, 501);
}
