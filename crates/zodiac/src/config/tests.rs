use super::*;

fn parse(text: &str, vars: &[(&str, &str)]) -> Result<Config> {
    Config::from_text(
        text,
        vars.iter()
            .map(|(name, value)| (name.to_string(), value.to_string())),
    )
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
