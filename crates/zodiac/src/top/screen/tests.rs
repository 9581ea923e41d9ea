use super::*;

fn view() -> View {
    let method = |name: &str, calls: f64| MethodView {
        method: name.to_owned(),
        calls_per_second: calls,
        refused_per_second: 0.0,
        latency: Quantiles {
            p50: Some(3.1e-6),
            p90: Some(0.000_25),
            p99: Some(1.5),
        },
        calls: 1,
    };
    let client = |number: u32| ClientView {
        name: format!("web{number} 10.0.0.{number}:4711"),
        received_per_second: 2_048.0,
        sent_per_second: 5e6,
        calls_per_second: 1_234.0,
        pending_bytes: 5 << 20,
        age: 7_300.0,
        ..ClientView::default()
    };
    View {
        ready: true,
        state: "ready".to_owned(),
        version: "1.2.3".to_owned(),
        pid: 4711,
        uptime: 273_000.0,
        cpu: 1.43,
        resident_bytes: 40 << 20,
        storages: vec![StorageView {
            name: "1".to_owned(),
            bytes: 5_000_000_000,
            objects: 1_204_331,
            commits_per_second: 812.2,
            pack: PackView {
                running: Some(72.0),
                stage: Some("copying".to_owned()),
                progress: Some(0.43),
                ..PackView::default()
            },
            methods: vec![method("loadBefore", 52_301.4), method("vote", 0.0)],
            ..StorageView::default()
        }],
        clients: (1..=30).map(client).collect(),
        ..View::default()
    }
}

fn screen(columns: usize, rows: Option<usize>) -> Screen {
    Screen {
        source: "127.0.0.1:8101".to_owned(),
        columns,
        rows,
        palette: Palette::plain(),
    }
}

#[test]
fn a_view_tells_what_matters_first() {
    let text = screen(100, None).draw(&view());
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "zodiac zeo 127.0.0.1:8101  READY   up 3d 03h   pid 4711   version 1.2.3"
    );
    assert!(text.contains("cpu 143%   memory 40.0 MiB"), "{text}");
    assert!(
        text.contains("STORAGE 1  4.7 GiB, 1,204,331 objects"),
        "{text}"
    );
    assert!(text.contains("commits 812/s"), "{text}");
    assert!(text.contains("pack copying  43% █████████████░"), "{text}");
    let load = text
        .lines()
        .find(|line| line.starts_with("loadBefore"))
        .unwrap();
    let figures: Vec<_> = load.split_whitespace().skip(1).collect();
    assert_eq!(
        figures,
        ["52,301", "3.1", "µs", "250", "µs", "1.5", "s", "0"]
    );
    assert!(text.contains("and 12 more"), "{text}");
}

#[test]
fn a_view_fits_into_its_terminal() {
    for (columns, rows) in [(80, 24), (40, 10), (200, 60), (20, 3)] {
        let text = screen(columns, Some(rows)).draw(&view());
        assert!(text.lines().count() <= rows, "{columns} x {rows}: {text}");
        for line in text.lines() {
            assert!(
                line.chars().count() <= columns,
                "{columns} x {rows}: {line:?}"
            );
        }
    }
    let text = screen(80, Some(24)).draw(&view());
    assert!(
        text.contains("web1 ") && text.contains("loadBefore"),
        "{text}"
    );
}

#[test]
fn what_is_wrong_is_in_the_first_line() {
    let mut view = view();
    (view.ready, view.state) = (false, "storage 1: the disk is full".to_owned());
    let text = screen(100, None).draw(&view);
    assert!(text.contains("NOT READY: storage 1: the disk is full"));
    let text = screen(100, None).draw_trouble(&view, "connection refused");
    assert!(text.contains("NO ANSWER: connection refused"));
    // A client's name cannot move the cursor.
    view.clients[0].name = "evil\x1b[2J\n".to_owned();
    let text = screen(100, None).draw(&view);
    assert!(!text.contains('\x1b') && text.contains("evil[2J"));
}

#[test]
fn numbers_are_short() {
    assert_eq!(
        [0.0, 0.04, 3.21, 12.6, 1e6].map(rate),
        ["0", "0", "3.2", "13", "1,000,000"]
    );
    assert_eq!(
        [0.0, 999.0, 1_000.0, 1_048_576.0, 2e12].map(bytes),
        ["0 B", "999 B", "1.0 KiB", "1.0 MiB", "1.8 TiB"]
    );
    assert_eq!(
        [3e-6, 0.000_42, 0.012, 0.999_6, 75.0].map(short),
        ["3.0 µs", "420 µs", "12 ms", "1.0 s", "75 s"]
    );
    assert_eq!(
        [0.34, 12.0, 75.0, 7_300.0].map(span),
        ["0.3 s", "12 s", "1m 15s", "2h 01m"]
    );
}
