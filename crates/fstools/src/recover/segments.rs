//! Where the pieces of a damaged file went that were copied, and which ones were met.

use storage::StorageError;

use super::input::Input;

/// Runs of bytes that were copied as they lay.
#[derive(Default)]
pub(super) struct Segments(Vec<Segment>);

/// A run. All three begin with the same byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    /// Where it was once, as pointers say it.
    origin: u64,
    /// Where it is in the damaged file.
    input: u64,
    /// Where it is in the new one.
    output: u64,
    bytes: u64,
}

/// Where a byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) input: u64,
    pub(super) output: u64,
}

impl Segments {
    /// A run was copied, behind all others. Most of them continue the run before, so that there are
    /// few.
    pub(super) fn push(&mut self, origin: u64, input: u64, output: u64, bytes: u64) {
        if let Some(last) = self.0.last_mut() {
            let ends = [last.origin, last.input, last.output].map(|start| start + last.bytes);
            if ends == [origin, input, output] {
                last.bytes += bytes;
                return;
            }
            // A pointer into something that was there twice leads to the first.
            if origin < ends[0] {
                return;
            }
        }
        self.0.push(Segment {
            origin,
            input,
            output,
            bytes,
        });
    }

    /// Where the byte is that was there once.
    pub(super) fn find(&self, origin: u64) -> Option<Place> {
        let after = self.0.partition_point(|segment| segment.origin <= origin);
        let segment = self.0[..after].last()?;
        let skip = origin - segment.origin;
        (skip < segment.bytes).then(|| Place {
            input: segment.input + skip,
            output: segment.output + skip,
        })
    }
}

/// The transactions that were met, to know those that are there once more.
#[derive(Default)]
pub(super) struct Met(Segments);

impl Met {
    /// Where the transaction was met before, byte for byte.
    pub(super) fn find(
        &self,
        input: &mut Input<'_>,
        start: u64,
        bytes: u64,
    ) -> Result<Option<u64>, StorageError> {
        let Some(header) = input.transaction(start)? else {
            return Ok(None);
        };
        let Some(first) = input.record(start.saturating_add(header.records_start()))? else {
            return Ok(None);
        };
        let Some(place) = self.0.find(first.transaction) else {
            return Ok(None);
        };
        let is_same = input.is_same(place.input, start, bytes)?;
        Ok(is_same.then_some(place.input))
    }

    /// Notes one that was not.
    pub(super) fn note(&mut self, origin: u64, start: u64, bytes: u64) {
        self.0.push(origin, start, start, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_grow_together_and_every_byte_is_found() {
        let mut segments = Segments::default();
        segments.push(4, 4, 4, 10);
        segments.push(14, 14, 14, 6);
        segments.push(40, 30, 20, 5);
        assert_eq!(segments.0.len(), 2);
        let place = |input, output| Some(Place { input, output });
        for (origin, found) in [
            (3, None),
            (4, place(4, 4)),
            (19, place(19, 19)),
            (20, None),
            (39, None),
            (40, place(30, 20)),
            (44, place(34, 24)),
            (45, None),
        ] {
            assert_eq!(segments.find(origin), found, "{origin}");
        }
    }
}
