use super::*;

fn plan(text: &str) -> Result<Plan> {
    let config = Config::default();
    let mut plan = Plan::from_config(&config)?;
    apply(text, "zeo.conf", &config, &mut plan)?;
    Ok(plan)
}

fn refused(text: &str) -> String {
    plan(text).expect_err("must be refused").to_string()
}

const ZEO: &str = "<zeo>\n address 127.0.0.1:8100\n</zeo>\n";

#[test]
fn every_part_of_a_usual_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let text = format!(
        "<zeo>\n address 127.0.0.1:8100\n read-only yes\n invalidation-queue-size 5\n \
         transaction-timeout 7\n pid-filename {folder}/zeo.pid\n msgpack on\n invalidation-age 60\n \
         client-conflict-resolution on\n</zeo>\n<filestorage 1>\n path {folder}/Data.fs\n \
         blob-dir {folder}/blobs\n quota 5MB\n pack-gc off\n pack-keep-old no\n read-only on\n \
         create no\n</filestorage>\n<eventlog>\n level warn\n <logfile>\n  path {folder}/zeo.log\n  \
         max-size 1kb\n  old-files 3\n </logfile>\n <logfile>\n  path STDERR\n </logfile>\n\
         </eventlog>\n<runner>\n program x\n</runner>\n"
    );
    let plan = plan(&text).unwrap();
    assert_eq!(plan.listen.addresses[0].to_string(), "127.0.0.1:8100");
    assert!(plan.server.read_only && !plan.merges);
    assert_eq!(plan.server.encoding, Encoding::Msgpack);
    assert_eq!(plan.server.invalidations_max, 5);
    assert_eq!(
        plan.server.transaction_timeout,
        Some(Duration::from_secs(7))
    );
    assert_eq!(plan.pid_file, Some(format!("{folder}/zeo.pid").into()));
    let (name, StoragePlan::File(file)) = &plan.storages[0] else {
        panic!("{:?}", plan.storages);
    };
    assert_eq!(name, "1");
    assert_eq!(file.blob_dir, Some(format!("{folder}/blobs").into()));
    assert_eq!(file.quota, Some(5 << 20));
    assert!(file.read_only && !file.pack_gc && !file.pack_keep_old && !file.compress);
    let log = plan.event_log.unwrap();
    assert_eq!((log.level, log.handlers.len()), (30, 2));
}

#[test]
fn storages_may_stand_in_each_other() {
    let file = "<filestorage>\n path Data.fs\n</filestorage>\n";
    let only = |text: String| {
        let mut storages = plan(&format!("%import zc.zlibstorage\n{ZEO}{text}"))
            .unwrap()
            .storages;
        assert_eq!(storages.len(), 1);
        storages.remove(0).1
    };
    let memory = || Box::new(StoragePlan::Memory);
    assert_eq!(only("<mappingstorage/>".into()), StoragePlan::Memory);
    let (base, changes) = (memory(), memory());
    assert_eq!(
        only("<demostorage/>".into()),
        StoragePlan::Overlay { base, changes }
    );
    let StoragePlan::Overlay { base, changes } = only(format!(
        "<zlibstorage>\n<demostorage 1>\n{file}<filestorage changes>\n path c.fs\n</filestorage>\n\
         </demostorage>\n</zlibstorage>\n"
    )) else {
        panic!();
    };
    let (StoragePlan::File(base), StoragePlan::File(changes)) = (*base, *changes) else {
        panic!();
    };
    assert!(!base.compress && changes.compress, "a base is not written");
    let compressed = |text: String| matches!(only(text), StoragePlan::File(file) if file.compress);
    assert!(compressed(format!("<zlibstorage>\n{file}</zlibstorage>")));
    assert!(!compressed(format!(
        "<zlibstorage>\ncompress no\n{file}</zlibstorage>"
    )));
    assert!(!compressed(format!(
        "<serverzlibstorage>\n{file}</serverzlibstorage>"
    )));
    let blobs = only(format!("<blobstorage>\nblob-dir b\n{file}</blobstorage>"));
    assert!(matches!(blobs, StoragePlan::File(file) if file.blob_dir == Some("b".into())));
    let changes = |inner: &str| match only(format!("<demostorage>\n{inner}</demostorage>")) {
        StoragePlan::Overlay { changes, .. } => *changes,
        plan => panic!("{plan:?}"),
    };
    assert_eq!(changes(file), StoragePlan::Memory);
    let with_blobs = "<filestorage>\npath x\nblob-dir b\n</filestorage>\n";
    assert_eq!(changes(with_blobs), StoragePlan::Temporary);
    let said = format!("{with_blobs}<mappingstorage changes/>\n");
    assert_eq!(changes(&said), StoragePlan::Memory);
}

#[test]
fn what_cannot_be_done_is_refused_by_name_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("Data.fs");
    std::fs::write(&data, "").unwrap();
    let data = data.to_str().unwrap();
    let file = |line: &str| format!("{ZEO}<filestorage>\npath {data}\n{line}\n</filestorage>");
    let zeo = |line: &str| format!("<zeo>\naddress 1\n{line}\n</zeo>\n<mappingstorage/>");
    check_refusals(&[
        (file("packer a:b"), 6, "packer"),
        (file("create yes"), 6, "create"),
        (file("quota 0"), 6, "quota"),
        (file("quota -1"), 6, "a quota below 1"),
        (zeo("transaction-timeout 0"), 3, "transaction-timeout"),
        (zeo("invalidation-queue-size -1"), 3, "queue"),
        (
            zeo("<ssl>\ncertificate x\nauthenticate y\n</ssl>"),
            3,
            "<ssl>: cannot read y",
        ),
        (
            zeo("<ssl>\ncertificate x\nauthenticate DYNAMIC\n</ssl>"),
            3,
            "DYNAMIC",
        ),
        (
            zeo("<ssl>\ncertificate x\nauthenticate y\npassword-function a.b\n</ssl>"),
            6,
            "ZODIAC_ZEO_TLS_PASSWORD_FILE",
        ),
        (
            zeo("").replace("address 1", &format!("address {}:1", "x".repeat(300))),
            2,
            "is not known",
        ),
        (zeo("").replace("address 1", "address 99999"), 2, "65535"),
    ]);
}

#[test]
fn storages_and_logs_that_cannot_be_are_refused() {
    let log = |line: &str| {
        format!(
            "{ZEO}<mappingstorage/>\n<eventlog>\n<logfile>\npath x.log\n{line}\n</logfile>\n</eventlog>"
        )
    };
    let storage = |text: &str| format!("%import tempstorage\n{ZEO}{text}");
    check_refusals(&[
        (storage("<temporarystorage/>"), 5, "<temporarystorage>"),
        (
            storage("<zeoclient>\nserver 1\n</zeoclient>"),
            5,
            "<zeoclient>",
        ),
        (
            storage("<fullstorage>\nenvdir x\n</fullstorage>"),
            5,
            "<fullstorage>",
        ),
        (
            storage("<blobstorage>\nblob-dir x\n<mappingstorage/>\n</blobstorage>"),
            5,
            "<blobstorage>",
        ),
        (
            storage("<blobstorage>\nblob-dir x\n</blobstorage>"),
            5,
            "<blobstorage>",
        ),
        (
            storage("<demostorage>\n<mappingstorage/>\n<mappingstorage a/>\n</demostorage>"),
            7,
            "one base",
        ),
        (
            storage("<mappingstorage/>\n<mappingstorage/>"),
            6,
            "unnamed",
        ),
        (
            storage("<mappingstorage 1/>\n<mappingstorage/>"),
            6,
            "named 1",
        ),
        (
            storage(
                "<filestorage 1>\npath a\nblob-dir b\n</filestorage>\n\
                 <filestorage 2>\npath c\nblob-dir ./b\n</filestorage>",
            ),
            9,
            "another storage's",
        ),
        (log("when D\nold-files 1"), 8, "time"),
        (log("encoding utf-16"), 8, "UTF-8"),
        (log("dateformat %Q"), 8, "%Q"),
        (
            format!("{ZEO}<mappingstorage/>\n<eventlog>\n<syslog/>\n</eventlog>"),
            6,
            "<syslog>",
        ),
    ]);
}

/// Each text is refused at that line, with these words.
fn check_refusals(texts: &[(String, usize, &str)]) {
    for (text, line, part) in texts {
        let message = refused(text);
        assert!(
            message.starts_with(&format!("zeo.conf:{line}: ")),
            "{text}: {message}"
        );
        assert!(message.contains(*part), "{text}: {message}");
    }
}

#[test]
fn addresses_are_all_that_runzeo_binds() {
    let bound = |text: &str| {
        let listen = address(text).unwrap();
        let shown: Vec<String> = listen.addresses.iter().map(ToString::to_string).collect();
        (shown.join(" "), listen.is_anywhere)
    };
    assert_eq!(bound("8100"), ("0.0.0.0:8100 [::]:8100".to_owned(), true));
    assert_eq!(bound("0"), ("0.0.0.0:0".to_owned(), true));
    assert_eq!(bound("[::1]:8100"), ("[::1]:8100".to_owned(), false));
    assert_eq!(bound("127.0.0.1"), ("127.0.0.1:0".to_owned(), false));
    assert_eq!(bound("./zeo.sock"), ("./zeo.sock".to_owned(), false));
    assert!(bound("localhost:8100").0.contains("127.0.0.1:8100"));
    assert!(address("localhost:x").is_err());
}
