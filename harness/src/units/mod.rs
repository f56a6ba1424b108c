//! Units: sizes, periods, counts, and the units that memory may follow. Conversions and how a number is written for a
//! person live here and nowhere else.

mod factor;
mod selector;
mod wire;

use std::{fmt, str::FromStr, time::Duration};

pub use factor::{Factor, Leave, UnknownFactor};
pub use selector::{Fold, LabelMatch, Selector, SeriesSelector};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
pub use wire::{ByteRate, Tunnel};

/// A size in bytes. Written `"512 MiB"`, `"4 kB"` or `"300 B"`; a bare number is refused, since it has no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if !text.ends_with(['B', 'b']) {
            return Err(format!(
                "`{text}` has no unit: write a size as \"64 B\", \"4 KiB\" or \"512 MiB\""
            ));
        }
        let size = text.parse::<bytesize::ByteSize>();
        size.map(|size| Self(size.as_u64())).map_err(|_| {
            format!("`{text}` is not a size: write \"64 B\", \"4 KiB\" or \"512 MiB\"")
        })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bytes(self.0 as f64))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&format!("{} B", self.0))
    }
}

/// A duration that is not zero: `"1s"`, `"250ms"`, `"1h 30min"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// `None` for a zero duration.
    pub const fn new(length: Duration) -> Option<Self> {
        if length.is_zero() {
            None
        } else {
            Some(Self(length))
        }
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let length = humantime::parse_duration(text).map_err(|_| {
            format!("`{text}` is not a duration: write \"250ms\", \"30s\" or \"1h 30min\"")
        })?;
        Self::new(length)
            .ok_or_else(|| "a period of zero never ends: write at least \"1ms\"".into())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humantime::format_duration(self.0).to_string())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&humantime::format_duration(self.0).to_string())
    }
}

/// So many a second; fractions are allowed, since realistic load is slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct PerSecond(f64);

impl PerSecond {
    /// `None` if it is negative or no number.
    pub fn new(rate: f64) -> Option<Self> {
        (rate.is_finite() && rate >= 0.0).then_some(Self(rate))
    }

    /// The rate.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// How many that is in so long, at least one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast from float saturates, and a rate is not negative"
    )]
    pub fn count_in(self, length: Duration) -> u32 {
        ((self.0 * length.as_secs_f64()).round() as u32).max(1)
    }
}

impl<'de> Deserialize<'de> for PerSecond {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let rate = f64::deserialize(input)?;
        Self::new(rate).ok_or_else(|| {
            de::Error::custom(format!(
                "{rate} is not a rate: write how many a second, such as 2 or 0.5"
            ))
        })
    }
}

impl Serialize for PerSecond {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_f64(self.0)
    }
}

/// A share of a whole, above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// `None` unless it is above 0 and at most 1.
    pub fn new(share: f64) -> Option<Self> {
        (share > 0.0 && share <= 1.0).then_some(Self(share))
    }

    /// The share.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(input)?;
        Self::new(share).ok_or_else(|| {
            de::Error::custom(format!(
                "{share} is no share of a whole: write 0.05 for 5 %"
            ))
        })
    }
}

/// `2,816`: an integer with thousands separators.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        out.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size for a person, in powers of 1024: `38.1 MiB`, `640 B`.
pub fn bytes(size: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = size;
    let mut unit = 0;
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value.abs() < 100.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_needs_a_unit_and_keeps_every_byte() {
        for (text, size) in [
            ("64 B", 64),
            ("4KiB", 4096),
            ("512 MiB", 512 << 20),
            ("1 kB", 1000),
        ] {
            assert_eq!(text.parse::<ByteSize>(), Ok(ByteSize(size)), "{text}");
        }
        for text in ["64", "", "many MiB", "-1 B"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_period_of_zero_is_refused_while_parsing() {
        assert!("0s".parse::<Period>().is_err());
        assert_eq!(
            "90s".parse::<Period>().map(Period::get),
            Ok(Duration::from_secs(90))
        );
    }

    #[test]
    fn a_slow_rate_is_a_rate_and_a_negative_one_is_none() {
        for (rate, seconds, count) in [(2.0, 230, 460), (0.5, 60, 30), (0.001, 10, 1)] {
            let rate = PerSecond::new(rate).unwrap();
            assert_eq!(
                rate.count_in(Duration::from_secs(seconds)),
                count,
                "{rate:?}"
            );
        }
        assert_eq!(PerSecond::new(-1.0).or(PerSecond::new(f64::NAN)), None);
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (2816, "2,816"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(bytes(640.0), "640 B");
        assert_eq!(bytes(40_000_000.0), "38.1 MiB");
    }
}
