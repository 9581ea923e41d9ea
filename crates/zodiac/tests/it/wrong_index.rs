//! A sound Data.fs with an index that is wrong about one of its objects, and what tools say of it and of
//! nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use filestorage::{Positions, Survey};
use storage::Oid;
use vfs::RealDisk;

use crate::missing_end::{fs_tool, make_site, served};
use crate::scratch;

/// Takes an object out of the index.
fn forget(data: &Path, oid: u64) {
    let saved = Survey::open(data, Arc::new(RealDisk)).expect("a file");
    let saved = saved.saved_index().expect("an index");
    let mut wrong = Positions::default();
    wrong.set_end(saved.end());
    for (other, at) in saved.iter().filter(|entry| entry.0 != Oid::new(oid)) {
        wrong.set(other, at);
    }
    let index = data.with_extension("fs.index");
    wrong.save(&RealDisk, &index).expect("it is written");
}

#[test]
fn all_tools_name_what_makes_a_wrong_index_right() {
    let directory = scratch("wrong-index");
    let data = directory.join("Data.fs");
    make_site(&data);
    let index = directory.join("Data.fs.index");
    let right = fs::read(&index).expect("an index");
    let bytes = fs::read(&data).expect("a file");
    forget(&data, 5);
    let wrong = fs::read(&index).expect("an index");
    for line in [
        "info Data.fs",
        "verify Data.fs",
        "refs Data.fs",
        "oids Data.fs 5",
        "stats Data.fs",
        "index Data.fs --check",
    ] {
        let (status, said) = fs_tool(&directory, line);
        assert_eq!(status, Some(1), "{line}: {said}");
        assert!(said.contains("zodiac fs index"), "{line}: {said}");
        assert_eq!(fs::read(&index).expect("an index"), wrong, "{line}");
    }
    let (status, said) = fs_tool(&directory, "index Data.fs");
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(fs::read(&index).expect("an index"), right);
    let (status, said) = fs_tool(&directory, "verify Data.fs");
    assert_eq!(status, Some(0), "{said}");

    // A server says so and does without.
    forget(&data, 5);
    let said = served(&data);
    assert!(
        said.contains("ERROR") && said.contains("the index is wrong"),
        "{said}"
    );
    assert_eq!(fs::read(&index).expect("an index"), right);
    assert_eq!(fs::read(&data).expect("a file"), bytes);
    // So does a pack, which keeps the object.
    forget(&data, 5);
    let (status, said) = fs_tool(&directory, "pack Data.fs --no-gc");
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("the index is wrong"), "{said}");
    let (status, said) = fs_tool(&directory, "oids Data.fs 5");
    assert_eq!(status, Some(0), "{said}");
    fs::remove_dir_all(directory).expect("the directory goes");
}

#[test]
fn tools_that_find_nothing_say_so() {
    let directory = scratch("nothing");
    make_site(&directory.join("Data.fs"));
    fs::write(directory.join("empty.fs"), "FS30").expect("a file");
    for (line, expected) in [
        (
            "dump Data.fs --from 2100-01-01",
            "no transaction in that time\n",
        ),
        ("dump Data.fs --from 2100-01-01 --json", ""),
        ("tail Data.fs -n 0", "no transaction was asked for (-n 0)\n"),
        ("tail empty.fs", "the file has no transaction\n"),
        ("tail empty.fs --json", ""),
    ] {
        let found = fs_tool(&directory, line);
        assert_eq!(found, (Some(0), expected.to_owned()), "{line}");
    }
    for line in [
        "pack none.fs --no-blobs",
        "info none.fs",
        "undo none.fs 0x1",
    ] {
        let (status, said) = fs_tool(&directory, line);
        assert_eq!(status, Some(2), "{line}: {said}");
        let expected = "none.fs: cannot open: No such file or directory";
        assert!(said.contains(expected), "{line}: {said}");
    }
    fs::remove_dir_all(directory).expect("the directory goes");
}

/// The directory of blobs of another Data.fs, or of a newer one.
#[test]
fn an_empty_file_beside_files_of_blobs_is_not_well() {
    let directory = scratch("blobs-without");
    fs::write(directory.join("Data.fs"), "FS30").expect("a file");
    let blob = "blobs/0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x05";
    fs::create_dir_all(directory.join(blob)).expect("a directory");
    fs::write(directory.join("blobs/.layout"), "bushy\n").expect("a file");
    let (status, said) = fs_tool(&directory, "verify Data.fs");
    assert_eq!(status, Some(0), "{said}");
    let file = directory.join(blob).join("0x03f0000100000000.blob");
    fs::write(file, "x").expect("a file");
    let (status, said) = fs_tool(&directory, "verify Data.fs");
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("a later transaction than the last one"),
        "{said}"
    );
    // Records of blobs alone have no use for a place for the files.
    make_site(&directory.join("Site.fs"));
    let (status, said) = fs_tool(&directory, "copy Site.fs copy.fs");
    assert_eq!(status, Some(2), "{said}");
    let (status, said) = fs_tool(&directory, "copy --no-blobs Site.fs copy.fs");
    assert_eq!(status, Some(0), "{said}");
    fs::remove_dir_all(directory).expect("the directory goes");
}
