//! What somebody may have meant.

/// Longer words are not compared.
const WORD_BYTES_MAX: usize = 64;

/// The candidate that is so near that a slip of the fingers explains it.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let bound = (word.len() / 3).clamp(1, 3);
    candidates
        .filter_map(|candidate| Some((distance(word, candidate)?, candidate)))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?`, or nothing.
pub(crate) fn suggestion<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |candidate| {
        format!("; did you mean \"{candidate}\"?")
    })
}

/// How many letters must be changed, added, removed, or swapped with their neighbour.
fn distance(left: &str, right: &str) -> Option<usize> {
    if left.len() > WORD_BYTES_MAX || right.len() > WORD_BYTES_MAX {
        return None;
    }
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=right.len()).collect();
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let change = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    Some(rows[left.len()][right.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood() {
        let keys = ["address", "read-only", "pid-filename"];
        for (word, meant) in [
            ("adress", Some("address")),
            ("adrdess", Some("address")),
            ("readonly", Some("read-only")),
            ("pid-file", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, keys.into_iter()), meant, "{word}");
        }
    }
}
