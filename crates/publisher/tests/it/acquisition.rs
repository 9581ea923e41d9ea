//! Which of several objects of one name is found.

use publisher::STACK_BYTES;

use crate::toy::Tree;

fn site() -> Tree {
    Tree::of(&[
        "/x", "/a", "/a/x", "/a/b", "/c", "/c/x", "/c/y", "/a/b/d", "/c/e",
    ])
}

fn found(path: &str, name: &str) -> String {
    site().get(&format!("{path}?find={name}")).1
}

#[test]
fn the_container_comes_before_what_is_around_it() {
    assert_eq!(found("/a/b", "x"), "/a/x");
    assert_eq!(found("/a/b/d", "x"), "/a/x");
    assert_eq!(found("/a/b/d", "c"), "/c");
    assert_eq!(found("/a/b/d", "nope"), "nothing");
}

#[test]
fn containment_comes_before_context() {
    // /c is only on the way: b is in a, which has an x.
    assert_eq!(found("/c/a/b", "x"), "/a/x");
    // What containment does not have, the way there may.
    assert_eq!(found("/c/a/b", "y"), "/c/y");
    assert_eq!(found("/a/b", "y"), "nothing");
}

#[test]
fn an_acquired_object_looks_in_its_own_place_first() {
    // (e of c) in the context of b: c's x, not a's.
    assert_eq!(found("/a/b/c/e", "x"), "/c/x");
    assert_eq!(found("/a/b/c/e", "d"), "/a/b/d");
}

#[test]
fn paths_are_where_an_object_is_stored() {
    let site = site();
    assert_eq!(site.get("/c/a/b/c/e").1, "/c/e");
    assert_eq!(site.get("/a/a/a/b").1, "/a/b");
}

#[test]
fn parents_are_of_the_context_and_inner_ones_of_the_place() {
    let site = site();
    assert_eq!(site.get("/c/a/aq_parent").1, "/c");
    assert_eq!(site.get("/c/a/aq_inner/aq_parent").1, "");
    assert_eq!(site.get("/c/a/b/aq_parent/aq_parent").1, "/c");
}

#[test]
fn names_with_an_underscore_are_not_acquired() {
    let site = Tree::of(&["/a", "/_x"]);
    assert_eq!(site.get("/a?find=_x").1, "nothing");
}

/// `data/make.py` asked the genuine Acquisition about random trees.
#[test]
fn random_trees_are_searched_as_by_acquisition() {
    let mut site = None;
    let mut asked = 0;
    for line in include_str!("../data/acquisition.txt").lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["=", paths @ ..] => site = Some(Tree::of(paths)),
            [path, name, found] => {
                let site = site.as_ref().unwrap();
                assert_eq!(site.get(&format!("{path}?find={name}")).1, *found, "{line}");
                asked += 1;
            }
            _ => panic!("{line}"),
        }
    }
    assert!(asked > 500, "{asked}");
}

#[test]
fn a_long_way_is_no_burden() {
    on_little_stack(long_ways);
}

/// Runs a test on a quarter of a worker's stack: what is left of the half that a request may take
/// belongs to the pages.
fn on_little_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .stack_size(STACK_BYTES / 4)
        .spawn(test)
        .unwrap()
        .join()
        .unwrap();
}

fn long_ways() {
    let site = site();
    for steps in ["/a/c", "/a/b/c/a/b", "/c/c", "/a/b/d/c/e"] {
        let path = steps.repeat(990 / (steps.len() / 2));
        assert_eq!(site.get(&format!("{path}?find=nope")).1, "nothing");
        assert_eq!(site.get(&format!("{path}/x")).0, 200);
    }
    // A way without a pattern, made of what every object finds somewhere.
    let mut number = 1_u32;
    let names = std::iter::repeat_with(|| {
        number = number.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        ["/a", "/c", "/x"][number as usize / 65_536 % 3]
    });
    let path: String = names.take(900).collect();
    assert_eq!(site.get(&format!("{path}?find=nope")).1, "nothing");
}
