//! How many retries a pool affords.

/// Retries may be at most a fifth of the requests, beyond a reserve for bad moments: when
/// everything is slow and failing, retrying everything would double the load just then.
#[derive(Clone, Debug)]
pub(crate) struct RetryBudget {
    /// In fifths of a retry, so that one request pays in exactly one.
    fifths: u32,
}

/// What a full budget affords without any fresh request.
pub(crate) const RETRY_RESERVE_MAX: u32 = 100;

const FIFTHS: u32 = 5;

impl RetryBudget {
    pub(crate) fn full() -> Self {
        Self {
            fifths: RETRY_RESERVE_MAX * FIFTHS,
        }
    }

    /// A fresh request pays in.
    pub(crate) fn deposit(&mut self) {
        self.fifths = (self.fifths + 1).min(RETRY_RESERVE_MAX * FIFTHS);
    }

    /// A retry pays out, if it can.
    pub(crate) fn withdraw(&mut self) -> bool {
        let Some(rest) = self.fifths.checked_sub(FIFTHS) else {
            return false;
        };
        self.fifths = rest;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_reserve_is_spent_five_requests_pay_one_retry() {
        let mut budget = RetryBudget::full();
        for _ in 0..RETRY_RESERVE_MAX {
            assert!(budget.withdraw());
        }
        assert!(!budget.withdraw());
        for _ in 0..4 {
            budget.deposit();
        }
        assert!(!budget.withdraw());
        budget.deposit();
        assert!(budget.withdraw());
        assert!(!budget.withdraw());
    }
}
