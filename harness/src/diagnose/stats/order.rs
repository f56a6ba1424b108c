//! Medians and other things that only need an order.

/// The median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(0.5 * (sorted[sorted.len() / 2 - 1] + upper))
}

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / count(values.len())
}

/// The standard deviation of exactly these values (divided by how many they are).
pub fn spread(values: &[f64]) -> f64 {
    let middle = mean(values);
    let squares: Vec<f64> = values.iter().map(|v| (v - middle).powi(2)).collect();
    mean(&squares).sqrt()
}

/// Greatest minus least; 0 of nothing.
pub fn range(values: &[f64]) -> f64 {
    (greatest(values) - least(values)).max(0.0)
}

/// The greatest; minus infinity of nothing.
pub fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// The least; infinity of nothing.
pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The first position of the least value.
pub fn position_of_least(values: &[f64]) -> Option<usize> {
    let found = values.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
    found.map(|(position, _)| position)
}

/// Each value minus the one before it.
pub fn differences(values: &[f64]) -> Vec<f64> {
    values.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// A count as a number to calculate with.
pub fn count(items: usize) -> f64 {
    items as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_sits_in_the_middle() {
        for (values, wanted) in [
            (&[][..], None),
            (&[3.0], Some(3.0)),
            (&[9.0, 1.0], Some(5.0)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[4.0, 1.0, 3.0, 2.0], Some(2.5)),
        ] {
            assert_eq!(median(values), wanted, "{values:?}");
        }
    }

    #[test]
    fn nothing_has_no_spread_and_no_range() {
        assert_eq!((spread(&[]), range(&[]), mean(&[])), (0.0, 0.0, 0.0));
        assert_eq!(position_of_least(&[]), None);
        assert_eq!(position_of_least(&[2.0, 1.0, 1.0]), Some(1));
    }
}
