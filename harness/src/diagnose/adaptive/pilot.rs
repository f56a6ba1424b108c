//! What the first cycles of an assay tell about how well the target can be judged.
//!
//! In: a [`Recording`] of priming and a few judged cycles. Out: [`PilotFacts`]. Everything is a median of something: in a third of the
//! cycles a leak may show, and the noise is what is left without it.

use std::collections::BTreeMap;

use super::super::{
    observations::Observations,
    recording::evidence,
    signal::Signal,
    stats::order::{differences, greatest, median, range},
    verdict::Evidence,
};
use crate::{
    profile::Assay,
    record::{PilotFacts, Recording, Table},
    units::{Factor, Leave},
};

/// From the median distance to a standard deviation, if it is normal.
const NORMAL: f64 = 1.4826;

/// Half a dozen differences tell their spread too small more often than too large.
const FEW: f64 = 1.3;

/// No pilot is long enough to promise less noise than this share of the floor.
const LEAST_NOISE: f64 = 0.25;

/// From this share kept back by the allocator on, half of the footprint may hide something (the method, §6.4).
const RETAINED: f64 = 0.5;

/// Measures; `None` if no memory of the target was read.
pub fn measure(recording: &Recording, assay: &Assay) -> Option<PilotFacts> {
    let Evidence { memory, .. } = evidence(recording);
    let best = memory.first()?;
    let (rows, _) = best.rows.without_gaps();
    if rows.rows() < 4 {
        return None;
    }
    let closed = closed(&rows);
    let readings = without_control(&rows);
    let grown = readings.last()? - readings.first()?;
    let precision = rows.precision;
    let load = Load::of(&recording.samples);
    let per_cycle = median(&differences(&closed)).unwrap_or(0.0);
    Some(PilotFacts {
        cycles: u32::try_from(rows.rows() - 1).unwrap_or(u32::MAX),
        cycle_s: rows.cycle_seconds,
        ended_s: recording.readings.numbers("t_s").map_or(0.0, greatest),
        signal: best.signal.name().into(),
        noise_bytes: noise(&differences(&readings), &differences(&closed))
            .max(LEAST_NOISE * best.signal.floor()),
        kept_bytes_per_connection: grown / closed.last()?.max(1.0),
        hidden_bytes: if precision.retained > RETAINED && best.signal != Signal::Allocated {
            0.5 * precision.footprint
        } else {
            0.0
        },
        connections_per_s: per_cycle / assay.dose.get().as_secs_f64(),
        open_at_once: load.open_at_once,
        cpu_share: load.cpu_share,
        units: units(assay, &rows),
    })
}

/// The readings without what the target was asked to keep.
fn without_control(rows: &Observations) -> Vec<f64> {
    let mut readings = rows.readings.clone();
    if let Some(control) = &rows.control {
        let kept = control
            .blocks
            .iter()
            .map(|blocks| blocks * control.bytes_each);
        readings
            .iter_mut()
            .zip(kept)
            .for_each(|(reading, kept)| *reading -= kept);
    }
    readings
}

/// Everybody who closed, however.
fn closed(rows: &Observations) -> Vec<f64> {
    let ways = rows
        .doses
        .iter()
        .filter(|dose| matches!(dose.factor, Factor::Closed(_)));
    let mut sum = vec![0.0; rows.rows()];
    for dose in ways {
        sum.iter_mut()
            .zip(&dose.total)
            .for_each(|(s, total)| *s += total);
    }
    sum
}

/// How far readings differ from cycle to cycle, whatever was given: the spread around the median line (Theil and Sen) through what
/// was gained by how many closed.
fn noise(gained: &[f64], closed: &[f64]) -> f64 {
    let pairs = (0..gained.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let slopes: Vec<f64> = pairs
        .filter(|(i, j)| (closed[*i] - closed[*j]).abs() > 0.5)
        .map(|(i, j)| (gained[i] - gained[j]) / (closed[i] - closed[j]))
        .collect();
    let slope = median(&slopes).unwrap_or(0.0);
    let left: Vec<f64> = gained
        .iter()
        .zip(closed)
        .map(|(g, c)| g - slope * c)
        .collect();
    let middle = median(&left).unwrap_or(0.0);
    let apart: Vec<f64> = left.iter().map(|l| (l - middle).abs()).collect();
    FEW * NORMAL * median(&apart).unwrap_or(0.0)
}

/// What a dose gives when its factor is on: as the profile says, but events, which are what they were.
fn units(assay: &Assay, rows: &Observations) -> BTreeMap<String, f64> {
    let doses = &assay.doses;
    let mut units: BTreeMap<String, f64> = BTreeMap::new();
    let mut give = |factor: Factor, many: f64| {
        units.insert(factor.name().to_owned(), many);
    };
    for (leave, dose) in &doses.closed {
        give(Factor::Closed(*leave), f64::from(dose.connections));
    }
    if let Some(dose) = &doses.session {
        give(Factor::Session, f64::from(dose.sessions));
    }
    if let Some(dose) = &doses.turn {
        give(Factor::Turn, f64::from(dose.turns));
    }
    let events = rows.doses.iter().find(|dose| dose.factor == Factor::Event);
    let swing = events.map(|dose| range(&differences(&dose.total)));
    if let Some(swing) = swing.filter(|swing| doses.event.is_some() && *swing >= 1.0) {
        give(Factor::Event, swing);
    }
    units
}

/// What the load and the target did in doses.
struct Load {
    open_at_once: f64,
    cpu_share: Option<f64>,
}

impl Load {
    fn of(samples: &Table) -> Self {
        let dosed = |row: &usize| samples.text("phase", *row) == Some("dose");
        let open = (0..samples.rows()).filter(dosed);
        let open: Vec<f64> = open
            .filter_map(|row| samples.number("live_connections", row))
            .collect();
        let both = (1..samples.rows()).filter(|row| dosed(row) && dosed(&(row - 1)));
        let (mut cpu, mut time) = (0.0, 0.0);
        for row in both {
            let gained =
                |name: &str| Some(samples.number(name, row)? - samples.number(name, row - 1)?);
            if let (Some(used), Some(passed)) = (gained("cpu_seconds"), gained("t_s")) {
                cpu += used;
                time += passed;
            }
        }
        Self {
            open_at_once: greatest(&open).max(0.0),
            cpu_share: (time > 0.0).then(|| cpu / time),
        }
    }
}

/// The shares of cycles in which factors are on (the method, §3.3).
pub(super) fn share(factor: Factor) -> f64 {
    match factor {
        Factor::Closed(_) => 1.0 / 3.0,
        _ => 0.5,
    }
}

/// Whether the probe gives it, too.
pub(super) fn is_probed(factor: Factor) -> bool {
    factor == Factor::Closed(Leave::Fin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_in_a_third_of_the_cycles_is_no_noise() {
        let closed = [300.0, 200.0, 300.0, 200.0, 300.0, 200.0];
        let quiet = [0.0, 40.0, -40.0, 0.0, 40.0, -40.0];
        let leaking = [102_400.0, 40.0, -40.0, 0.0, 102_440.0, -40.0];
        let honest = noise(&quiet, &closed);
        assert!((40.0..120.0).contains(&honest), "{honest}");
        assert!(
            noise(&leaking, &closed) < 3.0 * honest,
            "{}",
            noise(&leaking, &closed)
        );
    }

    #[test]
    fn a_leak_of_every_connection_is_no_noise_either() {
        let closed = [300.0, 200.0, 250.0, 220.0, 310.0, 190.0];
        let gained: Vec<f64> = closed.iter().map(|c| 1024.0 * c).collect();
        assert!(noise(&gained, &closed) < 1e-6);
    }

    #[test]
    fn noise_is_told_about_right() {
        let mut seen = Vec::new();
        let mut state = 1_u64;
        for _ in 0..200 {
            let mut random = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 40) as f64 / 16_777_216.0 - 0.5
            };
            let gained: Vec<f64> = (0..6).map(|_| 1000.0 * 3.46 * random()).collect();
            let closed: Vec<f64> = (0..6).map(|_| 200.0 + (100.0 * random()).round()).collect();
            seen.push(noise(&gained, &closed));
        }
        let typical = median(&seen).unwrap();
        assert!((600.0..1600.0).contains(&typical), "{typical}");
        assert!(seen.iter().filter(|s| **s < 200.0).count() < 20);
    }
}
