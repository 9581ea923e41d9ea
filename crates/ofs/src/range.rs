//! Byte ranges (`HTTPRangeSupport`).

/// A range as a `Range` header asks for it: from and to, the end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// From here up to there, or to the end.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Last(u64),
}

/// The most ranges one header may ask for; more are ignored, which is the whole content.
pub(crate) const RANGES_MAX: usize = 64;

/// Reads a `Range` header; `None` for one that is to be ignored.
pub(crate) fn parse(header: &str) -> Option<Vec<Asked>> {
    let header: String = header.chars().filter(|c| !c.is_whitespace()).collect();
    let sets = header.strip_prefix("bytes=")?;
    let ranges: Vec<_> = sets
        .split(',')
        .filter(|set| !set.is_empty())
        .map(parse_one)
        .collect::<Option<_>>()?;
    (1..=RANGES_MAX).contains(&ranges.len()).then_some(ranges)
}

fn parse_one(set: &str) -> Option<Asked> {
    let number = |text: &str| -> Option<u64> {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    match set.split_once('-')? {
        ("", "") => None,
        ("", last) => Some(Asked::Last(number(last)?)),
        (start, "") => Some(Asked::From(number(start)?, None)),
        (start, end) => {
            let (start, end) = (number(start)?, number(end)?.checked_add(1)?);
            (start < end).then_some(Asked::From(start, Some(end)))
        }
    }
}

/// The ranges that a content of `size` bytes has; none at all is "not satisfiable".
pub(crate) fn expand(asked: &[Asked], size: u64) -> Vec<(u64, u64)> {
    asked
        .iter()
        .filter_map(|range| {
            let (start, end) = match *range {
                Asked::From(start, end) => (start, end.unwrap_or(size).min(size)),
                Asked::Last(0) => return None,
                Asked::Last(count) => (size.saturating_sub(count), size),
            };
            (start < size).then_some((start, end))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(header: &str, size: u64) -> Option<Vec<(u64, u64)>> {
        parse(header).map(|asked| expand(&asked, size))
    }

    #[test]
    fn ranges_are_cut_to_the_content() {
        assert_eq!(ranges("bytes=0-4", 10), Some(vec![(0, 5)]));
        assert_eq!(ranges("bytes = 5 -", 10), Some(vec![(5, 10)]));
        assert_eq!(ranges("bytes=-3", 10), Some(vec![(7, 10)]));
        assert_eq!(ranges("bytes=-30", 10), Some(vec![(0, 10)]));
        assert_eq!(ranges("bytes=8-99,0-0", 10), Some(vec![(8, 10), (0, 1)]));
    }

    #[test]
    fn what_lies_outside_is_not_satisfiable() {
        assert_eq!(ranges("bytes=10-", 10), Some(vec![]));
        assert_eq!(ranges("bytes=-0", 10), Some(vec![]));
        assert_eq!(ranges("bytes=0-", 0), Some(vec![]));
    }

    #[test]
    fn what_is_no_range_is_ignored() {
        for header in [
            "junk",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=1",
            "lines=1-2",
        ] {
            assert_eq!(parse(header), None, "{header}");
        }
        assert_eq!(parse("bytes=1-99999999999999999999"), None);
        assert_eq!(
            parse(&format!("bytes={}", "0-1,".repeat(RANGES_MAX + 1))),
            None
        );
    }
}
