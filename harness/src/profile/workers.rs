//! How many processes play the load.

use std::{fmt, num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// More processes than this help nobody.
const MOST: u32 = 64;

/// How many worker processes play the load: `workers = 3`, or `workers = "auto"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// As many as the connections need, by the limit on descriptors; none if they fit into the run's own process.
    Auto,
    /// So many, needed or not.
    Count(NonZeroU32),
}

/// Neither a number that fits nor `auto`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no number of worker processes: write 1 to {MOST}, or \"auto\"")]
pub struct NoWorkers(String);

impl Workers {
    fn count(number: i128) -> Result<Self, NoWorkers> {
        let fits = u32::try_from(number).ok().filter(|number| *number <= MOST);
        let count = fits.and_then(NonZeroU32::new);
        count
            .map(Self::Count)
            .ok_or_else(|| NoWorkers(number.to_string()))
    }
}

impl FromStr for Workers {
    type Err = NoWorkers;

    fn from_str(text: &str) -> Result<Self, NoWorkers> {
        match text.parse() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(number) => Self::count(number),
            Err(_) => Err(NoWorkers(text.into())),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;

        impl de::Visitor<'_> for Either {
            type Value = Workers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a number of worker processes from 1 to {MOST}, or \"auto\""
                )
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Workers, E> {
                Workers::count(number.into()).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Workers, E> {
                Workers::count(number.into()).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Workers, E> {
                text.parse().map_err(E::custom)
            }
        }

        input.deserialize_any(Either)
    }
}
