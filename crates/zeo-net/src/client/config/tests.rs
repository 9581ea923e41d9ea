//! Texts as they are in use, and what is wrong with others.

use zconfig::Machine;

use super::*;

fn read(text: &str) -> Result<Vec<ZeoDatabase>, ConfigError> {
    let document = Document::parse(text, "zope.conf", &Machine)?;
    ClientOptions::from_zope_conf(&document, &Machine, None)
}

/// As Plone's buildouts write it, and Zope's own skeleton, with much that is not ours.
const ZOPE: &str = "\
%define INSTANCE /srv/zope
instancehome $INSTANCE
%import Products.something
<environment>
  TZ UTC
</environment>
<zodb_db main>
  cache-size 30000
  mount-point /
  <zeoclient>
    read-only false
    read-only-fallback on
    blob-dir $INSTANCE/blobs
    shared-blob-dir on
    server db1:8100
    server /run/zeo.sock
    storage main
    name zeostorage
    var $INSTANCE/var
    cache-size 128MB
    min-disconnect-poll 1
    wait off
    username admin
    client-label here
  </zeoclient>
</zodb_db>
<zodb_db temporary>
  <temporarystorage>
    name temporary
  </temporarystorage>
  mount-point /temp_folder
  container-class Products.TemporaryFolder.TemporaryContainer
</zodb_db>
";

#[test]
fn a_zope_conf_of_today_is_understood() {
    let databases = read(ZOPE).unwrap();
    let [main] = &databases[..] else {
        panic!("{databases:?}");
    };
    assert_eq!(main.name.as_deref(), Some("main"));
    assert_eq!(main.section.integer("cache-size"), Some(30_000));
    let client = &main.client;
    assert_eq!(client.servers, ["db1:8100", "/run/zeo.sock"]);
    assert_eq!(client.storage, "main");
    assert!(client.read_only_fallback && !client.read_only && !client.wait_at_start);
    assert_eq!(client.cache_bytes, 128 << 20);
    assert_eq!(client.label.as_deref(), Some("here"));
    assert_eq!(client.blobs, Some(BlobOptions::shared("/srv/zope/blobs")));
    assert!(client.tls.is_none() && client.disk_cache.is_none());
    let lasting = ZOPE.replace("    wait off\n", "    wait off\n    client zeo1\n");
    let cache = read(&lasting).unwrap().remove(0).client.disk_cache.unwrap();
    let expected = PathBuf::from("/srv/zope/var/zeo1-main.zec.zodiac");
    assert_eq!((cache.directory, cache.bytes_max), (expected, 128 << 20));
}

#[test]
fn a_clientstorage_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let text = format!(
        "<zodb>\n%import ZEO\n<clientstorage>\nserver 8100\nserver-sync true\nwait-timeout 7\n\
         blob-dir {folder}/cache\nblob-cache-size 2GB\nblob-cache-size-check 5\n\
         <ssl>\ncertificate {folder}/client.pem\ncheck-hostname no\nserver-hostname zeo\n</ssl>\n\
         </clientstorage>\n</zodb>\n"
    );
    let client = read(&text).unwrap().remove(0).client;
    assert_eq!(client.servers, ["127.0.0.1:8100"]);
    assert!(client.server_sync && client.wait_at_start);
    assert_eq!(client.wait, Duration::from_secs(7));
    assert_eq!(client.cache_bytes, 20 << 20);
    let blobs = client.blobs.unwrap();
    assert_eq!((blobs.bytes_max, blobs.check_percent), (Some(2 << 30), 5));
    let tls = client.tls.unwrap();
    assert!(!tls.check_hostname && tls.authenticate.is_none());
    assert_eq!(tls.server_hostname.as_deref(), Some("zeo"));
    let error = read(&text.replace("check-hostname no", "password-function a.b")).unwrap_err();
    assert!(error.to_string().contains("zope.conf:12:"), "{error}");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (from, to, expected) in [
        (
            "server db1:8100",
            "server db1",
            "zope.conf:15: db1 needs a port",
        ),
        (
            "client-label",
            "client-lable",
            "did you mean \"client-label\"",
        ),
        (
            "cache-size 128MB",
            "cache-size -1",
            "zope.conf:20: it cannot be negative",
        ),
        ("mount-point /\n", "\n", "mount-point"),
    ] {
        let error = read(&ZOPE.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn uris_are_read_as_zodburi_reads_them() {
    let read = |uri| ClientOptions::from_uri(uri).unwrap();
    let (options, rest) = read("zeo://localhost");
    assert_eq!(options.servers, ["localhost:9991"]);
    assert_eq!((options.storage.as_str(), rest.len()), ("1", 0));
    let (options, rest) = read(
        "zeo://[::1]:8100?storage=a%20b&wait=0&read_only=on&cache_size=50MB&blob_dir=%2Fcache\
         &shared_blob_dir=false&username=x&connection_cache_size=20000&database_name=main",
    );
    assert_eq!(options.servers, ["[::1]:8100"]);
    assert_eq!(options.storage, "a b");
    assert!(!options.wait_at_start && options.read_only);
    assert_eq!(options.cache_bytes, 50 << 20);
    assert_eq!(options.blobs, Some(BlobOptions::cache("/cache")));
    let rest: Vec<_> = rest.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(rest, ["connection_cache_size", "database_name"]);
    let (options, _) = read("zeo:///run/zeo.sock?storage=main");
    assert_eq!(options.servers, ["/run/zeo.sock"]);
    let (options, _) = read("zeo://a?client=one&var=/var");
    let cache = options.disk_cache.unwrap();
    assert_eq!(cache.directory, PathBuf::from("/var/one-1.zec.zodiac"));
    let (options, _) = read("zeo://a:1,b:2/main");
    assert_eq!(
        (options.servers.len(), options.storage.as_str()),
        (2, "main")
    );
    for (uri, expected) in [
        ("http://x", "zeo://"),
        ("zeo://", "no server"),
        ("zeo://host:port", "host:port"),
        ("zeo://8100", "8100"),
        (
            "zeo://h?wait_timeout=soon",
            "wait_timeout=soon: expected whole seconds",
        ),
        ("zeo://h?read_only=perhaps", "a flag"),
        ("zeo://h?cache_size=large", "a size"),
        ("zeo://h?blob_cache_size_check=100", "0 to 99"),
    ] {
        let error = ClientOptions::from_uri(uri).unwrap_err().to_string();
        assert!(error.contains(expected), "{uri}: {error}");
    }
}
