//! A segment: the part of every batch that one of several workers plays.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// Segment `index` of `of`: client `j` of a batch belongs to segment `j mod of`, and keeps its number and its due time.
///
/// So the segments of a plan together are the plan, whoever plays them and wherever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    index: u32,
    of: NonZeroU32,
}

impl Segment {
    /// Everything.
    pub const WHOLE: Self = Self {
        index: 0,
        of: NonZeroU32::MIN,
    };

    /// All segments of a plan that is cut into so many.
    pub fn all(of: NonZeroU32) -> impl Iterator<Item = Self> {
        (0..of.get()).map(move |index| Self { index, of })
    }

    /// The first client of a batch that belongs to it; there is none if the batch has not more than this.
    pub const fn first(self) -> u32 {
        self.index
    }

    /// The one that belongs to it after this one.
    pub const fn after(self, client: u32) -> u32 {
        client.saturating_add(self.of.get())
    }

    /// How many of the clients from `next` (which belongs to it) up to `count` belong to it.
    pub const fn left(self, next: u32, count: u32) -> u32 {
        count.saturating_sub(next).div_ceil(self.of.get())
    }

    /// How many of so many clients belong to it.
    pub const fn share(self, count: u32) -> u32 {
        self.left(self.index, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_belongs_to_exactly_one_segment() {
        for (of, count, shares) in [
            (1, 5, &[5][..]),
            (3, 5, &[2, 2, 1]),
            (4, 2, &[1, 1, 0, 0]),
            (2, u32::MAX, &[1 << 31, (1 << 31) - 1]),
        ] {
            let of = NonZeroU32::new(of).unwrap();
            let found: Vec<u32> = Segment::all(of)
                .map(|segment| segment.share(count))
                .collect();
            assert_eq!(found, shares, "{count} clients in {of} segments");
        }
    }
}
