use super::*;

fn parse(text: &str, vars: &[(&str, &str)]) -> Result<Config> {
    let vars = vars
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    Config::from_text("zodiac.toml", text, vars.collect())
}

fn message(text: &str, vars: &[(&str, &str)]) -> String {
    format!("{:#}", parse(text, vars).expect_err("must be refused"))
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    let printed: Config = toml::from_str(DEFAULTS).expect("the defaults parse");
    assert_eq!(printed, Config::default());
}

/// Each key is removed from the printed defaults and replaced by nonsense: it must be known.
#[test]
fn every_printed_key_is_read() {
    let defaults: toml::Table = toml::from_str(DEFAULTS).expect("the defaults parse");
    for (section, keys) in &defaults {
        for (key, value) in keys.as_table().expect("sections are tables") {
            let wrong = if value.is_str() { "[[]]" } else { "\"\"" };
            let refused = message(&format!("[{section}]\n{key} = {wrong}\n"), &[]);
            assert!(
                refused.contains("line 2") && refused.contains(key),
                "{section}.{key}: {refused}"
            );
        }
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let refused = message("[zeo]\n\nlisten = \"127.0.0.1:1\"\nlisn = 1\n", &[]);
    assert!(
        refused.contains("line 4") && refused.contains("lisn"),
        "{refused}"
    );
}

#[test]
fn a_value_out_of_range_is_named_with_its_line() {
    let refused = message("[up]\npublishers = 0\n", &[]);
    assert!(
        refused.contains("line 2") && refused.contains("between 1 and 1024"),
        "{refused}"
    );
    let refused = message("[publish]\nzeo = [\"nowhere\"]\n", &[]);
    assert!(
        refused.contains("line 2") && refused.contains("HOST:PORT"),
        "{refused}"
    );
}

#[test]
fn a_realm_that_would_break_the_header_is_refused() {
    let refused = message("[publish]\nrealm = 'a \"b'\n", &[]);
    assert!(refused.contains("publish.realm"), "{refused}");
}

#[test]
fn the_environment_overrides_the_file() {
    let file = "[zeo]\nread-only = false\n[publish]\nworkers = 2\n";
    let vars = [
        ("ZODIAC_ZEO_READ_ONLY", "true"),
        ("ZODIAC_PUBLISH_ZEO", "one:1, two:2"),
        ("ZODIAC_BALANCE_QUEUE_WAIT", "1.5"),
        ("ZODIAC_UNRELATED", "x"),
    ];
    let config = parse(file, &vars).expect("valid");
    assert!(config.zeo.read_only);
    assert_eq!(config.publish.workers, Count(2));
    assert_eq!(config.publish.zeo.len(), 2);
    assert_eq!(config.balance.queue_wait, Seconds::from_millis(1_500));
}

#[test]
fn a_wrong_variable_is_named() {
    let refused = message("", &[("ZODIAC_PUBLISH_WORKERS", "many")]);
    assert!(refused.contains("ZODIAC_PUBLISH_WORKERS"), "{refused}");
    let refused = message("", &[("ZODIAC_PUBLISH_WORKRES", "3")]);
    assert!(
        refused.contains("ZODIAC_PUBLISH_WORKRES") && refused.contains("workres"),
        "{refused}"
    );
}

#[test]
fn values_that_cannot_work_are_refused() {
    for (text, key) in [
        ("[balance]\nmembers = []\n", "balance.members"),
        (
            "[balance]\nhealth-interval = 0\n",
            "balance.health-interval",
        ),
        ("[zeo]\nframe-bytes-max = 0\n", "zeo.frame-bytes-max"),
        ("[log]\nlevel = 'loud'\n", "loud"),
    ] {
        let refused = message(text, &[]);
        assert!(
            refused.contains(key) && refused.contains("zodiac.toml"),
            "{refused}"
        );
    }
    let refused = message("", &[("ZODIAC_LOG_LEVEL", "loud")]);
    assert!(
        refused.contains("ZODIAC_LOG_LEVEL") && !refused.contains("zodiac.toml"),
        "{refused}"
    );
}

#[test]
fn errors_speak_of_numbers_and_addresses_not_of_types() {
    let refused = message("[publish]\nworkers = 'many'\n", &[]);
    assert!(refused.contains("a whole number"), "{refused}");
    for refused in [
        message("[storage]\nquota = -1\n", &[]),
        message("", &[("ZODIAC_STORAGE_QUOTA", "-1")]),
    ] {
        assert!(
            refused.contains("-1") && refused.contains("not below 0"),
            "{refused}"
        );
    }
    let refused = message("[balance]\nlisten = 'localhost:80'\n", &[]);
    assert!(refused.contains("IP:PORT"), "{refused}");
}

#[test]
fn a_value_that_fits_nothing_else_is_named_with_its_line_too() {
    let refused = message("[up]\n\n[balance]\nmembers = []\n", &[]);
    assert!(refused.contains("line 4: balance.members"), "{refused}");
}
