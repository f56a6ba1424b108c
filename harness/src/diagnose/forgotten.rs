//! The verdict of a cleanup run: whether everybody who left was forgotten, way by way, in the time that the profile gives.
//!
//! In: a [`Recording`] of a cleanup run. Out: [`Finding`]s. Counts are exact, so nothing is estimated; memory is shown beside and
//! never judged. Fail closed: what nobody counted, and what lingered once, is not clean.

use super::{
    cleanup::{Cleaned, Round, rounds},
    finding::{Finding, Statement, sentence::amount},
};
use crate::{
    record::{Recording, Series},
    units::{Factor, Leave, bytes, grouped},
};

/// Everything there is to say.
pub fn findings(recording: &Recording) -> Vec<Finding> {
    let within = recording.manifest.plan.drain_within_s;
    let rounds = rounds(&recording.cleanup);
    let mut all: Vec<Finding> = rounds.iter().map(|round| verdict(round, within)).collect();
    all.extend(never_played(recording, &rounds));
    if !all.is_empty() && all.iter().all(|one| one.verdict == Statement::CleanedUp) {
        all.insert(0, summary(&rounds, within));
    }
    all.extend(memory(recording));
    all
}

fn verdict(round: &Round, within: f64) -> Finding {
    let (statement, text) = if round.counts().any(Cleaned::is_left_behind) {
        (Statement::NotCleanedUp, left_behind(round, within))
    } else if round.counts().any(lingered) {
        (Statement::Inconclusive, slow(round, within))
    } else if is_counted(&round.kernel) || round.connections.as_ref().is_some_and(is_counted) {
        (Statement::CleanedUp, clean(round))
    } else {
        let text = format!("{}: nobody counted what became of them", left(round));
        (Statement::Inconclusive, text)
    };
    let mut finding = Finding::plain(statement, text);
    finding.factor = Some(Factor::Closed(round.leave));
    finding.units = Some(round.kernel.left);
    finding
}

fn lingered(count: &Cleaned) -> bool {
    count.lingering.is_some_and(|lingering| lingering > 0.0)
}

fn is_counted(count: &Cleaned) -> bool {
    count.lingering.is_some()
}

/// `180 clients left by half-close in 3 rounds`.
fn left(round: &Round) -> String {
    format!(
        "{} clients left by {} in {} rounds",
        whole(round.kernel.left),
        round.leave,
        round.kernel.cycles
    )
}

fn left_behind(round: &Round, within: f64) -> String {
    format!(
        "{}; {} s later {}",
        left(round),
        amount(within),
        holding(round).join(", ")
    )
}

fn slow(round: &Round, within: f64) -> String {
    let times = round.counts().map(|count| count.cycles_lingering).max();
    format!(
        "{}; {} s later, in {} of them, {}: too slow once, or left behind now and then; more rounds or a longer grace would decide",
        left(round),
        amount(within),
        times.unwrap_or(0),
        holding(round).join(", ")
    )
}

/// What each count says is still there, side by side: a contradiction is a finding too.
fn holding(round: &Round) -> Vec<String> {
    let still = |count: &Cleaned, who: &str, what: &str| match count.lingering {
        Some(lingering) => format!("{who} {} of {} {what}", whole(lingering), whole(count.left)),
        None => format!("nobody knows how many {what}"),
    };
    let kernel = still(&round.kernel, "the kernel holds", "sockets");
    let connections = round
        .connections
        .iter()
        .map(|c| still(c, "the server counts", "connections"));
    let sessions = round
        .sessions
        .iter()
        .map(|c| still(c, "it keeps", "sessions"));
    std::iter::once(kernel)
        .chain(connections)
        .chain(sessions)
        .collect()
}

fn clean(round: &Round) -> String {
    let gone = |count: &Cleaned, what: &str| {
        let [half, most, last] = count.each_s?;
        Some(format!(
            "{what} p50 {half:.2} s, p99 {most:.2} s, last {last:.2} s"
        ))
    };
    let times = [
        gone(&round.kernel, "sockets"),
        round
            .connections
            .as_ref()
            .and_then(|c| gone(c, "connections")),
        round.sessions.as_ref().and_then(|c| gone(c, "sessions")),
    ];
    let times: Vec<String> = times.into_iter().flatten().collect();
    format!("{}, all forgotten: {}", left(round), times.join("; "))
}

/// A way of leaving that the profile asks for and nobody took.
fn never_played(recording: &Recording, rounds: &[Round]) -> Vec<Finding> {
    let planned = recording.manifest.plan.factors.iter();
    let leaves =
        planned.filter_map(|name| Leave::ALL.into_iter().find(|leave| leave.name() == name));
    let missing = leaves.filter(|leave| rounds.iter().all(|round| round.leave != *leave));
    let say = |leave: Leave| {
        let text = format!("nobody left by {leave}: nothing is known about it");
        let mut finding = Finding::plain(Statement::Inconclusive, text);
        finding.factor = Some(Factor::Closed(leave));
        finding
    };
    missing.map(say).collect()
}

fn summary(rounds: &[Round], within: f64) -> Finding {
    let sum = |count: fn(&Round) -> f64| rounds.iter().map(count).sum::<f64>();
    let sessions = sum(|round| {
        round
            .sessions
            .as_ref()
            .map_or(0.0, |sessions| sessions.left)
    });
    let text = format!(
        "{} clients, {} sessions: all forgotten within {} s, however they left ({})",
        whole(sum(|round| round.kernel.left)),
        whole(sessions),
        amount(within),
        rounds
            .iter()
            .map(|round| round.leave.name())
            .collect::<Vec<_>>()
            .join(", ")
    );
    Finding::plain(Statement::CleanedUp, text)
}

/// Memory at the first and at the last reading of each series, for whoever wants to see it.
fn memory(recording: &Recording) -> Option<Finding> {
    let readings = &recording.readings;
    let last = readings.rows().checked_sub(1)?;
    let seen = |series: Series| {
        let at = |row| readings.number(series.name(), row);
        let name = series.name().trim_end_matches("_bytes");
        Some(format!("{name} {} → {}", bytes(at(0)?), bytes(at(last)?)))
    };
    let all: Vec<String> = [
        Series::Allocated,
        Series::PssAnon,
        Series::Rss,
        Series::Kernel,
    ]
    .into_iter()
    .filter_map(seen)
    .collect();
    let text = format!(
        "memory after the first and the last round, shown and not judged: {}",
        all.join(", ")
    );
    (!all.is_empty()).then(|| Finding::plain(Statement::Beside, text))
}

#[expect(clippy::cast_possible_truncation, reason = "a count")]
fn whole(count: f64) -> String {
    grouped(count.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(cycles: usize, lingering: Option<f64>, cycles_lingering: usize) -> Cleaned {
        Cleaned {
            of: "fin".into(),
            cycles,
            left: 180.0,
            lingering,
            cycles_lingering,
            clean_s: None,
            each_s: None,
        }
    }

    #[test]
    fn what_lingers_every_time_was_not_cleaned_up_and_what_nobody_counts_is_not_clean() {
        let gone = || count(3, Some(0.0), 0);
        for (kernel, connections, sessions, wanted) in [
            (gone(), Some(gone()), Some(gone()), Statement::CleanedUp),
            (gone(), None, None, Statement::CleanedUp),
            (count(3, None, 0), Some(gone()), None, Statement::CleanedUp),
            (count(3, None, 0), None, None, Statement::Inconclusive),
            (
                count(3, Some(180.0), 3),
                Some(gone()),
                None,
                Statement::NotCleanedUp,
            ),
            (
                gone(),
                None,
                Some(count(3, Some(2.0), 2)),
                Statement::NotCleanedUp,
            ),
            (
                gone(),
                None,
                Some(count(3, Some(2.0), 1)),
                Statement::Inconclusive,
            ),
        ] {
            let round = Round {
                leave: Leave::Fin,
                kernel,
                connections,
                sessions,
            };
            let found = verdict(&round, 1.5);
            assert_eq!(found.verdict, wanted, "{}", found.text);
        }
    }

    #[test]
    fn counts_that_contradict_each_other_stand_side_by_side() {
        let round = Round {
            leave: Leave::HalfClose,
            kernel: count(3, Some(180.0), 3),
            connections: Some(count(3, Some(0.0), 0)),
            sessions: None,
        };
        assert_eq!(
            verdict(&round, 1.5).text,
            "180 clients left by half-close in 3 rounds; 1.5 s later the kernel holds 180 of 180 sockets, the server counts 0 of 180 connections"
        );
    }
}
