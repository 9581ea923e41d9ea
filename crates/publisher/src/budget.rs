//! What one request may use up: how deep its pages may lie in each other, and how much they may do.
//!
//! A page that includes others is computed by recursion, in which two things alternate: pages, and
//! the blocks within a page. Both are counted by one [`Budget`] that the whole request shares, for
//! limits of their own would multiply. [`STACK_BYTES`] is what the thread must have to get to the
//! bottom of it.

use crate::error::PublishError;

/// How many pages and blocks may lie in each other, all together. Zope reaches its own limits at
/// 100 pages, or fewer with blocks in them.
pub const DEPTH_MAX: usize = 200;

/// How many pages one request may render. A page that includes itself twice would double with each
/// level, long before it is too deep.
pub const RENDERS_MAX: usize = 10_000;

/// How many names the pages of one request may look up. Each can be a search through all objects
/// around a page.
pub const LOOKUPS_MAX: usize = 100_000;

/// How many bytes the pages of one request may be made of: the sources that are rendered, the
/// values that their tags look up, and what they insert of them.
pub const RENDERED_BYTES_MAX: usize = 64 << 20;

/// The stack of a thread that calls [`Publisher::publish`](crate::Publisher::publish). The deepest
/// that a request can get takes less than half of it, even in a debug build; tests hold that.
pub const STACK_BYTES: usize = 16 << 20;

/// What a request has used up so far.
#[derive(Debug, Default)]
pub struct Budget {
    depth: usize,
    renders: usize,
    lookups: usize,
    rendered_bytes: usize,
}

impl Budget {
    /// Goes one level deeper, into a page or into a block of one. Call [`leave`](Self::leave) when
    /// coming back, whatever happened in there.
    ///
    /// # Errors
    /// Below [`DEPTH_MAX`] levels it is a `RecursionError`. Then there is no level to leave.
    pub fn enter(&mut self) -> Result<(), PublishError> {
        if self.depth >= DEPTH_MAX {
            return Err(PublishError::Exception {
                class: "RecursionError",
                message: format!(
                    "the page includes itself too deeply: more than {DEPTH_MAX} pages and blocks \
                     lie in each other"
                ),
            });
        }
        self.depth += 1;
        Ok(())
    }

    /// Comes back from a level.
    pub fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Counts a page that is about to be rendered.
    ///
    /// # Errors
    /// Fails after [`RENDERS_MAX`] pages.
    pub fn use_render(&mut self) -> Result<(), PublishError> {
        spend(&mut self.renders, 1, RENDERS_MAX, "renders", "pages")
    }

    /// Counts a name that is about to be looked up.
    ///
    /// # Errors
    /// Fails after [`LOOKUPS_MAX`] names.
    pub fn use_lookup(&mut self) -> Result<(), PublishError> {
        spend(&mut self.lookups, 1, LOOKUPS_MAX, "looks up", "names")
    }

    /// Counts bytes that a page is being made of.
    ///
    /// # Errors
    /// Fails after [`RENDERED_BYTES_MAX`] bytes.
    pub fn use_bytes(&mut self, count: usize) -> Result<(), PublishError> {
        let used = &mut self.rendered_bytes;
        spend(used, count, RENDERED_BYTES_MAX, "is made of", "bytes")
    }
}

/// What was used up stays so: whatever is tried after it fails as well.
fn spend(
    used: &mut usize,
    count: usize,
    max: usize,
    does: &str,
    what: &str,
) -> Result<(), PublishError> {
    *used = used.saturating_add(count);
    if *used <= max {
        return Ok(());
    }
    Err(PublishError::Exception {
        class: "RuntimeError",
        message: format!("the page, with all that it includes, {does} more than {max} {what}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_was_left_can_be_entered_again() {
        let mut budget = Budget::default();
        for _ in 0..DEPTH_MAX {
            budget.enter().unwrap();
        }
        assert!(budget.enter().is_err());
        budget.leave();
        budget.enter().unwrap();
        assert!(budget.enter().is_err());
    }

    #[test]
    fn what_was_used_up_stays_so() {
        let mut budget = Budget::default();
        budget.use_bytes(RENDERED_BYTES_MAX).unwrap();
        let error = budget.use_bytes(1).unwrap_err().to_string();
        assert!(error.contains("67108864 bytes"), "{error}");
        assert!(budget.use_bytes(0).is_err());
        assert!(budget.use_bytes(usize::MAX).is_err(), "no overflow");
        budget.use_render().unwrap();
    }
}
