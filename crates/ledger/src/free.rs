//! Finding a free number in a range without walking what is taken.

use std::ops::RangeInclusive;

use intent::{Density, Id};

/// Numbers of which some are taken, in runs of which some are full.
pub(crate) struct Taken<Used, Full> {
    pub(crate) used: Used,
    /// Whether all of the run that holds a number is taken.
    pub(crate) full: Full,
}

const RUN: u128 = Density::<Id<()>>::RUN;

impl<Used: Fn(u128) -> bool, Full: Fn(u128) -> bool> Taken<Used, Full> {
    /// The first free number at or after `from`, then from the range's start.
    pub(crate) fn first_free(&self, range: &RangeInclusive<u128>, from: u128) -> Option<u128> {
        let from = from.clamp(*range.start(), *range.end());
        let behind = self.scan(from, *range.end());
        behind.or_else(|| self.scan(*range.start(), from))
    }

    fn scan(&self, start: u128, end: u128) -> Option<u128> {
        let mut at = start;
        loop {
            if at.is_multiple_of(RUN) && (self.full)(at) {
                at = at.checked_add(RUN)?;
            } else if (self.used)(at) {
                at = at.checked_add(1)?;
            } else {
                return (at <= end).then_some(at);
            }
            if at > end {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeSet};

    use super::*;

    #[test]
    fn full_runs_are_skipped_and_the_search_wraps() {
        let used: BTreeSet<u128> = (100..100_000).collect();
        let asked = Cell::new(0);
        let taken = Taken {
            used: |number| {
                asked.set(asked.get() + 1);
                used.contains(&number)
            },
            full: |number| {
                (number / RUN * RUN..number / RUN * RUN + RUN).all(|it| used.contains(&it))
            },
        };
        assert_eq!(taken.first_free(&(100..=200_000), 100), Some(100_000));
        assert!(asked.get() < 600, "{} numbers were asked for", asked.get());
        assert_eq!(taken.first_free(&(90..=99_999), 500), Some(90));
        assert_eq!(taken.first_free(&(100..=99_999), 500), None);
        assert_eq!(
            taken.first_free(&(u128::MAX..=u128::MAX), 0),
            Some(u128::MAX)
        );
    }
}
