//! Pages that include each other: how deep, how often, how much. Each test runs on half the stack
//! that workers have.

use publisher::{
    DEPTH_MAX, LOOKUPS_MAX, Publisher, RENDERED_BYTES_MAX, RENDERS_MAX, Request, STACK_BYTES,
};
use storage::TransactionMeta;

use crate::sample::site;
use crate::support::{body, request};
use crate::writes::{put, stored};

/// Runs a test on half of a worker's stack.
fn on_half_a_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .stack_size(STACK_BYTES / 2)
        .spawn(test)
        .unwrap()
        .join()
        .unwrap();
}

fn write(publisher: &Publisher, path: &str, source: &str) {
    let (status, page) = answer(publisher, &put(path, "text/html", source.as_bytes()));
    assert!(matches!(status, 201 | 204), "{path}: {status} {page}");
}

fn get(publisher: &Publisher, path: &str) -> (u16, String) {
    answer(publisher, &request("GET", path))
}

fn answer(publisher: &Publisher, request: &Request) -> (u16, String) {
    let response = publisher.publish(request);
    let status = response.status;
    (status, String::from_utf8(body(response)).unwrap())
}

/// A source within blocks.
fn nested(blocks: usize, source: &str) -> String {
    format!(
        "{}{source}{}",
        "<dtml-if URL>".repeat(blocks),
        "</dtml-if>".repeat(blocks)
    )
}

/// Pages `page0.dtml` to `page<count>`: each includes the next one, the last one says `end`.
fn chain(publisher: &Publisher, count: usize, blocks: usize) {
    for number in 0..count {
        let include = format!("<dtml-var page{}.dtml>", number + 1);
        write(
            publisher,
            &format!("/page{number}.dtml"),
            &nested(blocks, &include),
        );
    }
    write(publisher, &format!("/page{count}.dtml"), "end");
}

const TOO_DEEP: &str = "the page includes itself too deeply";

#[test]
fn a_page_that_includes_itself_is_an_error() {
    on_half_a_stack(|| {
        let publisher = site();
        for (blocks, path) in [
            (0, "/loop.dtml"),
            (1, "/loop.dtml"),
            (45, "/loop.dtml"),
            (45, "/index_html"),
        ] {
            let include = format!("<dtml-var {}>", &path[1..]);
            write(&publisher, path, &nested(blocks, &include));
            let (status, page) = get(&publisher, path);
            assert_eq!(status, 500, "{blocks} blocks");
            assert!(page.contains(TOO_DEEP), "{page}");
        }
        let (status, page) = get(&publisher, "/");
        assert_eq!(status, 500);
        assert!(page.contains(TOO_DEEP), "{page}");
    });
}

#[test]
fn pages_and_blocks_are_counted_together() {
    on_half_a_stack(|| {
        for blocks in [0, 1, 3, 49] {
            let publisher = site();
            // The last page has no blocks.
            let deepest = (DEPTH_MAX - 1) / (blocks + 1);
            chain(&publisher, deepest + 1, blocks);
            let (status, page) = get(&publisher, "/page1.dtml");
            assert_eq!((status, page.as_str()), (200, "end"), "{blocks} blocks");
            let (status, page) = get(&publisher, "/page0.dtml");
            assert_eq!(status, 500, "{blocks} blocks");
            assert!(page.contains(TOO_DEEP), "{page}");
        }
    });
}

#[test]
fn the_deepest_page_fits_at_the_end_of_a_long_way() {
    on_half_a_stack(|| {
        let publisher = site();
        chain(&publisher, DEPTH_MAX - 1, 0);
        write(
            &publisher,
            &format!("/page{}.dtml", DEPTH_MAX - 1),
            "<dtml-var nope missing=end>",
        );
        let way = "/news".repeat(900);
        assert_eq!(
            get(&publisher, &format!("{way}/page0.dtml")),
            (200, "end".to_owned())
        );
    });
}

#[test]
fn a_page_that_includes_itself_twice_does_not_double_for_ever() {
    on_half_a_stack(|| {
        let publisher = site();
        for number in 0..40 {
            let include = format!("<dtml-var page{}.dtml>", number + 1);
            write(
                &publisher,
                &format!("/page{number}.dtml"),
                &include.repeat(2),
            );
        }
        write(&publisher, "/page40.dtml", "end");
        let (status, page) = get(&publisher, "/page0.dtml");
        assert_eq!(status, 500);
        assert!(
            page.contains(&format!("more than {RENDERS_MAX} pages")),
            "{page}"
        );
        // 2^13 pages, all at the bottom, and those above them.
        assert_eq!(get(&publisher, "/page29.dtml").0, 200);
    });
}

#[test]
fn a_page_cannot_grow_for_ever() {
    on_half_a_stack(|| {
        let publisher = site();
        write(&publisher, "/large.dtml", &"x".repeat(1 << 20));
        let times = RENDERED_BYTES_MAX >> 20;
        // Each is counted as a source, as a value and as what is inserted.
        write(
            &publisher,
            "/few.dtml",
            &"<dtml-var large.dtml>".repeat(times / 4),
        );
        assert_eq!(get(&publisher, "/few.dtml").0, 200);
        write(
            &publisher,
            "/many.dtml",
            &"<dtml-var large.dtml>".repeat(times),
        );
        let (status, page) = get(&publisher, "/many.dtml");
        assert_eq!(status, 500);
        assert!(
            page.contains(&format!("more than {RENDERED_BYTES_MAX} bytes")),
            "{page}"
        );
    });
}

#[test]
fn a_page_cannot_look_up_names_for_ever() {
    on_half_a_stack(|| {
        let publisher = site();
        let tags = "<dtml-if nope></dtml-if>".repeat(1000);
        write(&publisher, "/thousand.dtml", &tags);
        write(
            &publisher,
            "/most.dtml",
            &"<dtml-var thousand.dtml>".repeat(LOOKUPS_MAX / 1001),
        );
        assert_eq!(get(&publisher, "/most.dtml").0, 200);
        write(
            &publisher,
            "/more.dtml",
            &"<dtml-var thousand.dtml>".repeat(LOOKUPS_MAX / 1000),
        );
        let (status, page) = get(&publisher, "/more.dtml");
        assert_eq!(status, 500);
        assert!(
            page.contains(&format!("more than {LOOKUPS_MAX} names")),
            "{page}"
        );
    });
}

#[test]
fn the_error_page_is_made_of_what_is_left() {
    on_half_a_stack(|| {
        let publisher = site();
        write(&publisher, "/loop.dtml", "<dtml-var loop.dtml>");
        let source = "<dtml-var error_type>: <dtml-var error_value>";
        write(&publisher, "/standard_error_message", source);
        let (status, page) = get(&publisher, "/loop.dtml");
        assert_eq!(status, 500);
        assert!(
            page.starts_with("RecursionError: the page includes"),
            "{page}"
        );
        // An error page that fails is replaced by the built-in one.
        write(
            &publisher,
            "/standard_error_message",
            "<dtml-var standard_error_message>",
        );
        let (status, page) = get(&publisher, "/nowhere");
        assert_eq!(status, 404);
        assert!(page.contains("does not exist"), "{page}");
    });
}

/// The owner of a page is stored data, and names a path of folders; a folder may hold itself.
#[test]
fn an_owner_from_an_endless_folder_is_refused() {
    on_half_a_stack(|| {
        let publisher = site();
        write(&publisher, "/page.dtml", "<dtml-var secret.dtml>");
        write(&publisher, "/secret.dtml", "secret");
        let mut as_admin = put("/page.dtml", "", b"");
        as_admin.method = "GET".to_owned();
        let mut connection = publisher.database().connect();
        let secret = stored(&publisher, &["secret.dtml"]);
        let mut pickles = secret.pickles().clone();
        let roles = vec![pickles.str("Manager")];
        let roles = pickles.tuple(roles);
        pickles.dict_set(secret.state().id(), "_View_Permission", roles);
        connection.store(secret.oid(), pickles).unwrap();
        connection.commit(TransactionMeta::default()).unwrap();
        let (before, _) = answer(&publisher, &as_admin);

        let mut connection = publisher.database().connect();
        let root = stored(&publisher, &[]);
        let page = stored(&publisher, &["page.dtml"]);
        let mut pickles = root.pickles().clone();
        let itself = root.reference().write(&mut pickles);
        pickles.dict_set(root.state().id(), "self", itself);
        connection.store(root.oid(), pickles).unwrap();
        let mut pickles = page.pickles().clone();
        let names = (0..1_000_000).map(|_| pickles.str("self")).collect();
        let parts = vec![pickles.list(names), pickles.str("admin")];
        let owner = pickles.tuple(parts);
        pickles.dict_set(page.state().id(), "_owner", owner);
        connection.store(page.oid(), pickles).unwrap();
        connection.commit(TransactionMeta::default()).unwrap();

        let (after, answer) = answer(&publisher, &as_admin);
        assert_eq!((before, after), (200, 501), "{answer}");
        assert!(answer.contains("more than 1000 folders deep"), "{answer}");
    });
}
