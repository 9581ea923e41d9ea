//! `zodiac top` in a terminal.

use conformance::{judge, zodiac_binary};
use serde_json::json;

#[test]
fn top_follows_terminal_and_server_and_leaves_the_terminal_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = json!({ "zodiac": zodiac_binary().unwrap(), "folder": folder.path() });
    let found = judge::run("top_terminal.py", &wanted).unwrap();

    let resized = found["resized"].as_array().unwrap();
    let [rows, columns, lines, longest] = [0, 1, 2, 3].map(|at| resized[at].as_u64().unwrap());
    assert!(lines <= rows && longest <= columns, "{resized:?}");
    let away = found["away"].as_str().unwrap();
    assert!(away.contains("NO ANSWER"), "{away}");
    assert_eq!(found["back"], true);

    let ends = found["ends"].as_object().unwrap();
    assert_eq!(ends.len(), 6);
    for (how, end) in ends {
        assert_eq!(end["status"], 0, "{how}: {end}");
        assert_eq!(end["is_as_before"], true, "{how}: {end}");
        // Plain, with a cursor, on the screen that was there before.
        assert_eq!(end["said"], "\x1b[0m\x1b[?25h\x1b[?1049l", "{how}");
    }
    let seconds = found["seconds_to_end"].as_f64().unwrap();
    assert!(seconds < 4.0, "{seconds} s");
}
