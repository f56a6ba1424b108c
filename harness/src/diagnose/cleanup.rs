//! Cleanup: what lingered after the drains, by the kernel's and by the target's own count, and how long the rest took to go.
//!
//! In: `cleanup.csv`. Out: one [`Cleaned`] per count; of a cleanup run, one [`Round`] per way of leaving. Counts are exact, so no model is needed: what is still there at the end
//! of most drains, cycle after cycle, was not cleaned up in the time that the profile gave.

use serde::Serialize;

use crate::{record::Table, units::Leave};

use super::stats::order::greatest;

/// One count, over all judged cycles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cleaned {
    /// A leave mode (the kernel's count), or `connections` or `sessions` (the target's own).
    pub of: String,
    /// Cycles in which any left.
    pub cycles: usize,
    /// How many left.
    pub left: f64,
    /// How many of them were there when their cycle's drain ended; `None`: nobody counted.
    pub lingering: Option<f64>,
    /// Cycles in which any lingered.
    pub cycles_lingering: usize,
    /// Time until none of a cycle was left, seconds: median, 99th percentile, most; only cycles that came clean.
    pub clean_s: Option<[f64; 3]>,
    /// Time until one of those who left was forgotten, seconds: median, 99th percentile (the worst of all cycles), the last one.
    pub each_s: Option<[f64; 3]>,
}

impl Cleaned {
    /// Whether more than half of the drains ended with something left. One slow drain on a busy machine is no finding.
    pub fn is_left_behind(&self) -> bool {
        self.cycles_lingering * 2 > self.cycles
            && self.lingering.is_some_and(|lingering| lingering > 0.0)
    }
}

/// What became of those who left in one way, in a run that plays one way a cycle: three counts of the same people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Round {
    /// How they left.
    #[serde(serialize_with = "name")]
    pub leave: Leave,
    /// Their sockets, by the kernel's count.
    pub kernel: Cleaned,
    /// Their connections, by the target's own count.
    pub connections: Option<Cleaned>,
    /// Their sessions, by the target's own count; `None`: they made none.
    pub sessions: Option<Cleaned>,
}

impl Round {
    /// Every count there is.
    pub fn counts(&self) -> impl Iterator<Item = &Cleaned> {
        let own = self.connections.iter().chain(&self.sessions);
        std::iter::once(&self.kernel).chain(own)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference to the field"
)]
fn name<S: serde::Serializer>(leave: &Leave, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(leave.name())
}

/// Sums up the table by the way of leaving that was played in each cycle.
pub fn rounds(table: &Table) -> Vec<Round> {
    let rows = judged(table);
    let of = |leave: Leave| {
        let is = |row: &usize, name: &str| table.text("of", *row) == Some(name);
        let cycle = |row: &usize| table.number("cycle", *row);
        let played: Vec<_> = rows
            .iter()
            .filter(|row| is(row, leave.name()))
            .filter_map(cycle)
            .collect();
        let here = |row: &usize| {
            cycle(row).is_some_and(|now| played.iter().any(|one| (one - now).abs() < 0.5))
        };
        let count = |name: &str| {
            let rows: Vec<usize> = rows
                .iter()
                .copied()
                .filter(|row| here(row) && is(row, name))
                .collect();
            (!rows.is_empty()).then(|| one(table, name, &rows))
        };
        Some(Round {
            leave,
            kernel: count(leave.name())?,
            connections: count("connections"),
            sessions: count("sessions"),
        })
    };
    Leave::ALL.into_iter().filter_map(of).collect()
}

/// The rows of judged cycles.
fn judged(table: &Table) -> Vec<usize> {
    let is = |row: &usize| {
        table
            .number("cycle", *row)
            .is_some_and(|cycle| cycle >= 0.0)
    };
    (0..table.rows()).filter(is).collect()
}

/// Sums up the table: ways of leaving in the design's order, then the target's own counts.
pub fn cleaned(table: &Table) -> Vec<Cleaned> {
    let rows = judged(table);
    let mut names: Vec<&str> = Vec::new();
    for row in &rows {
        if let Some(name) = table.text("of", *row).filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| {
        Leave::ALL
            .iter()
            .position(|leave| leave.name() == *name)
            .unwrap_or(Leave::ALL.len())
    });
    names
        .into_iter()
        .map(|name| {
            let of = |row: &usize| table.text("of", *row) == Some(name);
            let rows: Vec<usize> = rows.iter().copied().filter(of).collect();
            one(table, name, &rows)
        })
        .collect()
}

fn one(table: &Table, name: &str, rows: &[usize]) -> Cleaned {
    let all = |column: &str| -> Vec<f64> {
        rows.iter()
            .filter_map(|row| table.number(column, *row))
            .collect()
    };
    let (lingering, times) = (all("lingering"), all("clean_s"));
    let (half, most) = (all("clean_p50_s"), all("clean_p99_s"));
    let known = !half.is_empty() && !most.is_empty() && !times.is_empty();
    Cleaned {
        of: name.into(),
        cycles: rows.len(),
        left: all("left").iter().sum(),
        lingering: (!lingering.is_empty()).then(|| lingering.iter().sum()),
        cycles_lingering: lingering.iter().filter(|count| **count > 0.0).count(),
        clean_s: (!times.is_empty()).then(|| {
            [
                quantile(&times, 0.5),
                quantile(&times, 0.99),
                greatest(&times),
            ]
        }),
        each_s: known.then(|| [quantile(&half, 0.5), greatest(&most), greatest(&times)]),
    }
}

/// The smallest value that at least this share of the values does not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a small count"
)]
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &str) -> Table {
        Table::read(
            format!("t_s,cycle,of,left,lingering,clean_s\n{rows}").as_bytes(),
            &["of"],
        )
        .unwrap()
        .0
    }

    #[test]
    fn sessions_that_never_go_are_left_behind_and_priming_does_not_count() {
        let found = cleaned(&table(
            "1,-1,sessions,60,60,\n2,0,sessions,60,60,\n3,1,sessions,60,60,\n4,2,sessions,60,0,0.4\n",
        ));
        assert_eq!(
            (found[0].cycles, found[0].left, found[0].lingering),
            (3, 180.0, Some(120.0))
        );
        assert!(found[0].is_left_behind());
    }

    #[test]
    fn sessions_are_told_apart_by_how_their_clients_left() {
        let (table, _) = Table::read(
            "t_s,cycle,of,left,lingering,clean_s,clean_p50_s,clean_p99_s\n\
             1,0,fin,60,0,0.2,0.05,0.15\n1,0,sessions,60,60,,,\n\
             2,1,rst,60,0,0.1,0.1,0.1\n2,1,sessions,60,0,0.9,0.8,0.9\n\
             3,2,fin,60,0,0.4,0.15,0.3\n3,2,sessions,60,60,,,\n"
                .as_bytes(),
            &["of"],
        )
        .unwrap();
        let [fin, rst] = &rounds(&table)[..] else {
            panic!("{:?}", rounds(&table))
        };
        assert_eq!((fin.leave, rst.leave), (Leave::Fin, Leave::Rst));
        assert_eq!(fin.kernel.each_s, Some([0.05, 0.3, 0.4]));
        let sessions = |round: &Round| {
            round
                .sessions
                .as_ref()
                .map(|s| (s.left, s.is_left_behind()))
        };
        assert_eq!(sessions(fin), Some((120.0, true)));
        assert_eq!(sessions(rst), Some((60.0, false)));
        assert_eq!(fin.connections, None);
    }

    #[test]
    fn one_slow_drain_is_no_finding() {
        let found = cleaned(&table(
            "1,0,fin,60,0,0.1\n2,1,fin,60,3,\n3,2,fin,60,0,0.2\n",
        ));
        assert!(!found[0].is_left_behind());
        assert_eq!(found[0].clean_s.map(|times| times[2]), Some(0.2));
    }

    #[test]
    fn what_nobody_counted_is_not_clean_and_not_left_behind() {
        let found = cleaned(&table("1,0,connections,60,,\n"));
        assert_eq!(
            (
                found[0].lingering,
                found[0].clean_s,
                found[0].is_left_behind()
            ),
            (None, None, false)
        );
    }
}
