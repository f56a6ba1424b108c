//! Which factors can be judged at all, and how the method's tests carry over to any list of them.
//!
//! The method is written for the close modes `fin`, `rst`, `stall` and for sessions and events. A run may dose any list. With `C`
//! the dosed ways of leaving, `U = C +` the other dosed units, `N` the nuisance columns and `m` the rows:
//!
//! | in the method | here |
//! |---|---|
//! | five factors, `K = 6 (+1 for time)` | `K = |U| + |P|` (the tests of the pools) `+ 1` (time, in a soak) |
//! | big: `m - |N| - 5 >= 10` | `m - |N| - |U| >= 10` |
//! | `all`: the mean of three slopes | pools `P`: the mean of `|C|` slopes; needs two modes, else it *is* the one mode |
//! | | and `left`, all of `C` but `complete`: a client that leaves is another story than a stream that ends. Needs two, and `complete` |
//! | abrupt = rst + stall | the sum of those of `rst`, `stall`, `vanish` that were dosed; needs two, and a third way that is not |
//! | scan at `alpha/10` (half of alpha over 5) | `alpha / (2 |U|)`: half of alpha over the candidates |
//! | pooling: all three modes agree | all of `C` agree; failing that, all of `left` |
//! | zombies at `alpha/8` (half over 4) | `alpha / (2 (|C| + |P|))`: 1/16 for the six ways of the shipped profile |
//!
//! Where the server never ends a stream, `left` is `all` and does not exist: with `fin`, `rst`, `stall` this is the method as written.
//!
//! Factors are taken in the order of [`Factor`], never in the order of the recording: the order of columns decides nothing. A
//! factor that was never dosed is *not dosed*, which is neither clean nor guilty. A factor whose doses are a mixture of the others'
//! is not judged on its own; those it cannot be told from carry its name.

use std::ops::Range;

use crate::units::Factor;

use super::{
    observations::Observations,
    stats::{Engine, order::range},
};

/// Below this share of unexplained variance a column says nothing that the others do not.
const SEPARATE: f64 = 1e-6;

/// What can be asked of a set of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Factors {
    /// Dosed and separable, in the order of [`Factor`].
    pub units: Vec<Factor>,
    /// Named in the recording, never given in these rows.
    pub not_dosed: Vec<Factor>,
    /// Given, but always together with others: the factor, and those that it cannot be told from.
    pub inseparable: Vec<(Factor, Vec<Factor>)>,
}

impl Factors {
    /// Sorts the factors of a recording, over these rows; `nuisances` are the columns removed first.
    pub fn of(observations: &Observations, rows: Range<usize>, nuisances: &[Vec<f64>]) -> Self {
        let mut doses: Vec<_> = observations.doses.iter().collect();
        doses.sort_by_key(|dose| dose.factor);
        let given = |total: &[f64]| range(&total[rows.clone()]) > 0.5;
        let (dosed, idle): (Vec<_>, Vec<_>) = doses.into_iter().partition(|d| given(&d.total));
        let columns: Vec<(Factor, Vec<f64>)> = dosed
            .iter()
            .map(|d| (d.factor, d.total[rows.clone()].to_vec()))
            .collect();
        let mut found = separate(&columns, nuisances);
        found.not_dosed = idle.iter().map(|d| d.factor).collect();
        found
    }

    /// The ways of leaving that were dosed.
    pub fn connections(&self) -> Vec<Factor> {
        self.keep(|f| matches!(f, Factor::Closed(_)))
    }

    /// Everything that is not a way of leaving.
    pub fn others(&self) -> Vec<Factor> {
        self.keep(|f| !matches!(f, Factor::Closed(_)))
    }

    /// The members of a factor: itself, or what it sums up.
    pub fn members(&self, factor: Factor) -> Vec<Factor> {
        if factor.is_sum() {
            self.keep(|f| factor.includes(f))
        } else {
            vec![factor]
        }
    }

    /// `all`, `left` and `abrupt`, as far as they are more than one mode and not the same.
    pub fn sums(&self) -> Vec<Factor> {
        let mut sums: Vec<Factor> = Vec::new();
        for sum in [Factor::AllClosed, Factor::Left, Factor::Abrupt] {
            let members = self.members(sum);
            let is_known = sums.iter().any(|known| self.members(*known) == members);
            if members.len() >= 2 && !is_known {
                sums.push(sum);
            }
        }
        sums
    }

    /// The sums that stand for their members where these behave alike. Not `abrupt`: only the scan asks about it.
    pub fn pools(&self) -> Vec<Factor> {
        let mut pools = self.sums();
        pools.retain(|sum| *sum != Factor::Abrupt);
        pools
    }

    /// Ways of leaving that a factor does not include.
    pub fn other_connections(&self, than: Factor) -> Vec<Factor> {
        let members = self.members(than);
        let mut others = self.connections();
        others.retain(|mode| !members.contains(mode));
        others
    }

    /// The factors that a factor cannot be told from.
    pub fn twins(&self, factor: Factor) -> Vec<Factor> {
        let mut twins = Vec::new();
        for (other, mixture) in &self.inseparable {
            if mixture.contains(&factor) {
                twins.push(*other);
            }
        }
        twins
    }

    fn keep(&self, wanted: impl Fn(Factor) -> bool) -> Vec<Factor> {
        self.units.iter().copied().filter(|f| wanted(*f)).collect()
    }
}

/// Takes factors one by one, in order, as long as each adds something.
fn separate(columns: &[(Factor, Vec<f64>)], nuisances: &[Vec<f64>]) -> Factors {
    let Some((_, first)) = columns.first() else {
        return Factors::default();
    };
    let all: Vec<Vec<f64>> = nuisances
        .iter()
        .cloned()
        .chain(columns.iter().map(|c| c.1.clone()))
        .collect();
    let engine = Engine::new(&vec![0.0; first.len()], &all);
    let enough_rows = first.len() > all.len();
    let ground: Vec<usize> = (0..nuisances.len()).collect();
    let (mut found, mut kept) = (Factors::default(), Vec::new());
    for (i, (factor, _)) in columns.iter().enumerate() {
        let here = nuisances.len() + i;
        match mixture(&engine, here, &kept, &ground, enough_rows) {
            None => {
                kept.push(here);
                found.units.push(*factor);
            }
            Some(of) => {
                let names = of.iter().map(|&c| columns[c - nuisances.len()].0);
                found.inseparable.push((*factor, names.collect()));
            }
        }
    }
    found
}

/// The columns among `kept` that a column is a mixture of; `None` if it says something of its own. With fewer rows than columns
/// everything is a mixture of everything: then only pairs are compared.
fn mixture(
    engine: &Engine,
    column: usize,
    kept: &[usize],
    ground: &[usize],
    enough_rows: bool,
) -> Option<Vec<usize>> {
    let with = |others: &[usize]| engine.unexplained_share(column, &[ground, others].concat());
    if enough_rows {
        if with(kept) > SEPARATE {
            return None;
        }
        let needed = |&&one: &&usize| {
            let rest: Vec<usize> = kept.iter().copied().filter(|&c| c != one).collect();
            with(&rest) > SEPARATE
        };
        return Some(kept.iter().filter(needed).copied().collect());
    }
    let twins: Vec<usize> = kept
        .iter()
        .copied()
        .filter(|&c| with(&[c]) <= SEPARATE)
        .collect();
    (!twins.is_empty()).then_some(twins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Leave;

    fn column(seed: u32) -> Vec<f64> {
        let steps = (0..12).map(|i| f64::from((i * seed * 7919 + seed) % 5 < 2) * 60.0);
        steps
            .scan(0.0, |sum, step| {
                *sum += step;
                Some(*sum)
            })
            .collect()
    }

    const COMPLETE: Factor = Factor::Closed(Leave::Complete);
    const FIN: Factor = Factor::Closed(Leave::Fin);
    const RST: Factor = Factor::Closed(Leave::Rst);
    const STALL: Factor = Factor::Closed(Leave::Stall);

    #[test]
    fn a_factor_always_given_with_another_is_not_judged_alone() {
        let (a, b) = (column(1), column(3));
        let both: Vec<f64> = a.iter().zip(&b).map(|(x, y)| x + y).collect();
        let ground = [vec![1.0; 12], (0..12).map(f64::from).collect()];
        let columns = [
            (FIN, a.clone()),
            (RST, b),
            (Factor::Session, both),
            (Factor::Turn, a),
        ];
        let found = separate(&columns, &ground);
        assert_eq!(found.units, [FIN, RST]);
        let wanted = [(Factor::Session, vec![FIN, RST]), (Factor::Turn, vec![FIN])];
        assert_eq!(found.inseparable, wanted);
        assert_eq!(found.twins(FIN), [Factor::Session, Factor::Turn]);
    }

    #[test]
    fn a_factor_that_is_only_the_passing_of_time_is_inseparable_from_drift() {
        let ground = [vec![1.0; 12], (0..12).map(f64::from).collect()];
        let steady: Vec<f64> = (0..12).map(|i| 60.0 * f64::from(i)).collect();
        let found = separate(&[(FIN, steady), (RST, column(3))], &ground);
        assert_eq!(
            (found.units, found.inseparable),
            (vec![RST], vec![(FIN, vec![])])
        );
    }

    #[test]
    fn sums_need_more_than_one_mode_and_are_never_twice_the_same() {
        let sums = |units: &[Factor]| {
            Factors {
                units: units.to_vec(),
                ..Factors::default()
            }
            .sums()
        };
        for (units, wanted) in [
            (
                &[FIN, RST, STALL, Factor::Event][..],
                &[Factor::AllClosed, Factor::Abrupt][..],
            ),
            (&[FIN, RST, Factor::Event], &[Factor::AllClosed]),
            (
                &[COMPLETE, FIN, RST, STALL],
                &[Factor::AllClosed, Factor::Left, Factor::Abrupt],
            ),
            (&[COMPLETE, FIN], &[Factor::AllClosed]), // left is the one mode
            (
                &[COMPLETE, RST, STALL], // left and abrupt: the same sum
                &[Factor::AllClosed, Factor::Left],
            ),
            (&[RST, STALL], &[Factor::AllClosed]), // both abrupt: the same sum
            (&[FIN, Factor::Event], &[]),
            (&[], &[]),
        ] {
            assert_eq!(sums(units), wanted, "{units:?}");
        }
    }
}
