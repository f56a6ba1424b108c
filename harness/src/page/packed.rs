//! Series in a page: differences of whole numbers, as varints, deflated, in base64. A day of seconds is about 100 KB a series.
//!
//! Each series is a multiple of a quantum: the largest that all its values are multiples of (memory comes in pages), so nothing
//! is lost. Only where a page would become too large are the largest series rounded, the largest first ([`within`]).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use miniz_oxide::deflate::compress_to_vec;
use serde::Serialize;

/// Best size for the time: level 9 takes three times as long for 2 % less.
const LEVEL: u8 = 6;
/// Beyond this a `f64` does not hold every whole number.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// One series, as `plot.js` reads it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Packed {
    /// How many values.
    pub count: usize,
    /// Every value is a multiple of it.
    pub quantum: f64,
    /// For each value the difference from the last known one in quanta, zigzag, plus one; 0: missing. Varints, raw deflate, base64.
    pub data: String,
}

/// How exactly a series is to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Precision {
    /// Whole numbers, none changed.
    Whole,
    /// To so many decimals.
    Decimals(i32),
}

/// Packs a series; `NaN` is missing.
pub fn packed(values: &[f64], precision: Precision) -> Packed {
    let quantum = match precision {
        Precision::Whole => common_divisor(values),
        Precision::Decimals(digits) => 10_f64.powi(-digits),
    };
    with_quantum(values, quantum)
}

/// Rounds the largest series until all together take no more than so many characters.
pub fn within(budget: usize, series: &mut [Packed], values: &[Vec<f64>]) {
    let size = |series: &[Packed]| series.iter().map(|one| one.data.len()).sum::<usize>();
    while size(series) > budget {
        let largest = (0..series.len()).max_by_key(|place| series[*place].data.len());
        let Some(place) = largest else { return };
        let before = series[place].data.len();
        series[place] = with_quantum(&values[place], series[place].quantum * 16.0);
        if series[place].data.len() >= before {
            return; // nothing is left to be rounded
        }
    }
}

fn with_quantum(values: &[f64], quantum: f64) -> Packed {
    let mut bytes = Vec::with_capacity(values.len());
    let mut last = 0;
    for value in values {
        match quanta(*value, quantum) {
            None => bytes.push(0),
            Some(now) => {
                varint(zigzag(now - last) + 1, &mut bytes);
                last = now;
            }
        }
    }
    Packed {
        count: values.len(),
        quantum,
        data: STANDARD.encode(compress_to_vec(&bytes, LEVEL)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
fn quanta(value: f64, quantum: f64) -> Option<i64> {
    let quanta = (value / quantum).round();
    (quanta.abs() <= EXACT).then_some(quanta as i64) // NaN is not
}

/// 0, -1, 1, -2, 2 … become 0, 1, 2, 3, 4 …: small either way.
fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)).cast_unsigned()
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while let Some(low) = u8::try_from(number & 0x7f).ok().filter(|_| number > 0x7f) {
        out.push(low | 0x80);
        number >>= 7;
    }
    out.extend(u8::try_from(number));
}

/// The largest whole number that all values are multiples of; 1 if there is nothing to divide.
fn common_divisor(values: &[f64]) -> f64 {
    let mut divisor: i64 = 0;
    for value in values.iter().filter_map(|value| quanta(*value, 1.0)) {
        divisor = gcd(divisor, value.abs());
        if divisor == 1 {
            break;
        }
    }
    divisor.max(1) as f64
}

fn gcd(mut one: i64, mut other: i64) -> i64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use miniz_oxide::inflate::decompress_to_vec;
    use proptest::prelude::*;

    use super::*;

    /// What `plot.js` does.
    fn unpacked(series: &Packed) -> Vec<f64> {
        let bytes = decompress_to_vec(&STANDARD.decode(&series.data).unwrap()).unwrap();
        let (mut values, mut last, mut bytes) = (Vec::new(), 0, bytes.into_iter());
        while let Some(first) = bytes.next() {
            let (mut number, mut shift, mut byte) = (u64::from(first & 0x7f), 7, first);
            while byte > 0x7f {
                byte = bytes.next().unwrap();
                number |= u64::from(byte & 0x7f) << shift;
                shift += 7;
            }
            let Some(zigzag) = number.checked_sub(1) else {
                values.push(f64::NAN);
                continue;
            };
            last += (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
            values.push(last as f64 * series.quantum);
        }
        values
    }

    proptest! {
        #[test]
        fn whole_numbers_come_back_as_they_were(
            values in proptest::collection::vec(proptest::option::weighted(0.9, -(1i64 << 52)..1i64 << 52), 0..200),
        ) {
            let values: Vec<f64> = values.into_iter().map(|value| value.map_or(f64::NAN, |value| value as f64)).collect();
            let series = packed(&values, Precision::Whole);
            prop_assert_eq!(series.count, values.len());
            let back = unpacked(&series);
            prop_assert!(back.iter().zip(&values).all(|(a, b)| (a - b).abs() < 0.5 || (a.is_nan() && b.is_nan())));
        }
    }

    #[test]
    fn memory_is_counted_in_pages() {
        let series = packed(&[8192.0, f64::NAN, 12288.0], Precision::Whole);
        assert!((series.quantum - 4096.0).abs() < 0.5);
        assert_eq!(unpacked(&series)[2].to_string(), "12288");
    }

    #[test]
    fn a_page_that_would_be_too_large_rounds_its_largest_series() {
        let noise = |step: f64| {
            (0..5000)
                .map(|i| ((f64::from(i) * 12.9898).sin() * step).round())
                .collect::<Vec<_>>()
        };
        let values = [noise(1e9), noise(3.0)];
        let mut series: Vec<Packed> = values
            .iter()
            .map(|values| packed(values, Precision::Whole))
            .collect();
        let small = series[1].clone();
        within(15_000, &mut series, &values);
        assert!(series.iter().map(|one| one.data.len()).sum::<usize>() <= 15_000);
        assert_eq!(series[1], small, "the small one is as it was");
        let worst = unpacked(&series[0])
            .iter()
            .zip(&values[0])
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(worst <= series[0].quantum / 2.0 && worst < 1e8, "{worst}");
    }
}
