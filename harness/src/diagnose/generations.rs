//! Where the target became somebody else: the recording falls into stretches, each with a level of its own.
//!
//! In: the reading of every cycle, and the generation of the target at each. Out: [`Generations`]: which readings are judged, the
//! steps between their stretches (columns that only the level follows), and the longest stretch, to which everything belongs that
//! looks at levels without a regression. Start at [`Generations::of`]. A worker that is replaced takes its leak along and brings a
//! warm-up: the first cycles of every stretch are left out, like those of the run. A recording without generations is one stretch.

use std::ops::Range;

use super::{
    finding::{Finding, Statement},
    observations::{Kept, Nuisance},
};
use crate::record::{Recording, Table};

/// A stretch says something about slopes from two readings on.
const LEAST: usize = 2;
/// Less than this share of the planned readings is no basis for an acquittal.
const ENOUGH: f64 = 0.5;

/// One stretch of readings of the same target.
#[derive(Clone, Debug, PartialEq)]
struct Stretch {
    /// Rows of the table from the first reading of this target to the last.
    span: Range<usize>,
    /// Its judged readings, rows of the table.
    judged: Vec<usize>,
    /// The last reading of the target before.
    before: Option<usize>,
    /// Its number, if it was read.
    generation: Option<f64>,
}

/// The stretches of a recording.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Generations {
    stretches: Vec<Stretch>,
    /// How often the target became another while it was judged.
    changes: usize,
    /// Readings left out because the target was just replaced.
    left_out: usize,
    /// Readings that the plan meant to be judged.
    planned: usize,
}

impl Generations {
    /// Lays out the readings of these rows. `is_judged` says whether a row is one after priming, and `is_warm`, of the last
    /// reading of the target before and a later row, whether the new one has been warmed up by then.
    pub(super) fn of(
        table: &Table,
        readings: &[usize],
        is_judged: impl Fn(usize) -> bool,
        is_warm: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let mut stretches = cut(table, readings);
        let planned = readings.iter().filter(|row| is_judged(**row)).count();
        let meant = |stretch: &Stretch| stretch.judged.iter().any(|row| is_judged(*row));
        let seen = stretches.iter().filter(|stretch| meant(stretch)).count();
        for stretch in &mut stretches {
            let before = stretch.before;
            let keeps =
                |row: &usize| is_judged(*row) && before.is_none_or(|before| is_warm(before, *row));
            stretch.judged.retain(keeps);
        }
        if seen > 1 {
            stretches.retain(|stretch| stretch.judged.len() >= LEAST);
        } else {
            stretches.retain(|stretch| !stretch.judged.is_empty());
        }
        let kept: usize = stretches.iter().map(|stretch| stretch.judged.len()).sum();
        Self {
            changes: seen.saturating_sub(1),
            left_out: planned - kept,
            planned,
            stretches,
        }
    }

    /// Every judged reading, rows of the table.
    pub(super) fn judged(&self) -> Vec<usize> {
        let all = self.stretches.iter().flat_map(|stretch| &stretch.judged);
        all.copied().collect()
    }

    /// A column for each stretch after the first: 1 in its rows. Whatever the level was before, it is its own.
    pub(super) fn steps(&self, rows: &[usize]) -> Vec<Nuisance> {
        let step = |(number, stretch): (usize, &Stretch)| Nuisance {
            name: format!("stretch {}", number + 1),
            values: rows
                .iter()
                .map(|row| f64::from(u8::from(stretch.span.contains(row))))
                .collect(),
            kept: Kept::Always,
        };
        self.stretches
            .iter()
            .enumerate()
            .skip(1)
            .map(step)
            .collect()
    }

    /// The stretch with the most judged readings.
    fn longest(&self) -> Option<&Stretch> {
        let length = |stretch: &&Stretch| stretch.judged.len();
        self.stretches.iter().rev().max_by_key(length) // of equals the first
    }

    /// Rows of the table between which the longest stretch lies; all of them if there is no other.
    pub(super) fn whole(&self, rows: usize) -> Range<usize> {
        match self.longest() {
            _ if self.changes == 0 && self.stretches.len() < 2 && self.begins_at_once() => 0..rows,
            Some(longest) => {
                let from = longest.before.map_or(0, |before| before + 1);
                let next = self.cuts_after(longest);
                from..next.unwrap_or(rows)
            }
            None => 0..0,
        }
    }

    /// Whether the judged target is the one that the run began with.
    fn begins_at_once(&self) -> bool {
        let first = self.stretches.first();
        first.is_some_and(|stretch| stretch.before.is_none())
    }

    /// Where the target after this one was first read.
    fn cuts_after(&self, stretch: &Stretch) -> Option<usize> {
        Some(stretch.span.end).filter(|end| *end < usize::MAX)
    }

    /// The last reading of the target before the longest stretch: what had closed by then, died with that one.
    pub(super) fn before_longest(&self) -> Option<usize> {
        self.longest()?.before
    }

    /// Whether a row of a table is of the target of the longest stretch, as far as both know.
    pub(super) fn is_of_longest(&self, table: &Table, row: usize) -> bool {
        let its = self.longest().and_then(|longest| longest.generation);
        let here = table.number("target_generation", row);
        its.zip(here)
            .is_none_or(|(its, here)| (its - here).abs() < 0.5)
    }

    /// Whether the target was ever replaced while it was judged.
    pub(super) const fn is_split(&self) -> bool {
        self.changes > 0
    }
}

/// Cuts the readings where the generation changes. A generation that was not read is taken to be the one before.
fn cut(table: &Table, readings: &[usize]) -> Vec<Stretch> {
    let generation = |row: usize| table.number("target_generation", row);
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut now = None;
    for &row in readings {
        let next = generation(row).or(now);
        let is_new = stretches.is_empty() || (now.is_some() && next != now);
        now = next;
        if !is_new {
            let last = stretches
                .last_mut()
                .expect("only the first has none before");
            last.judged.push(row);
            last.generation = last.generation.or(next);
            continue;
        }
        let before = stretches.last_mut().map(|last| {
            last.span.end = row;
            *last.judged.last().expect("every stretch begins with a row")
        });
        stretches.push(Stretch {
            span: row..usize::MAX,
            judged: vec![row],
            before,
            generation: next,
        });
    }
    stretches
}

/// What there is to say about it: that it happened, and if too little is left, what to do.
pub(super) fn findings(recording: &Recording, generations: &Generations) -> Vec<Finding> {
    if !generations.is_split() {
        return Vec::new();
    }
    let Generations {
        changes,
        left_out,
        planned,
        ..
    } = *generations;
    let kept = planned - left_out;
    let happened = happened(recording, changes);
    let mut all = Vec::new();
    if (kept as f64) < ENOUGH * planned as f64 {
        let text = format!(
            "{happened}: {kept} of {planned} readings are left when each new process is given {} to warm up, too few to say that nothing leaks; {}",
            warm_up(recording),
            remedy(recording)
        );
        all.push(Finding::plain(Statement::Inconclusive, text));
    } else {
        let text = format!(
            "{happened}: {kept} of {planned} readings are judged, in stretches with a level of their own; the others are its warm-up"
        );
        all.push(Finding::plain(Statement::Beside, text));
    }
    all
}

fn happened(recording: &Recording, changes: usize) -> String {
    let events = &recording.events;
    let of = |kind: &str| {
        (0..events.rows())
            .filter(|row| events.text("kind", *row) == Some(kind))
            .count()
    };
    let resumed = of("resume");
    let times = |count: usize| match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    };
    if resumed >= changes {
        return format!("the run was cut short and resumed {}", times(resumed));
    }
    let also = match resumed {
        0 => String::new(),
        _ => format!(", and the run was resumed {}", times(resumed)),
    };
    format!(
        "processes of the target were replaced between readings {}{also} (see `restart` in events.csv)",
        times(changes - resumed)
    )
}

fn warm_up(recording: &Recording) -> String {
    let cycles = recording.manifest.plan.priming.max(1);
    let more = recording
        .manifest
        .plan
        .soak
        .map_or_else(String::new, |soak| {
            format!(" and {} units of every factor", soak.cache_units)
        });
    match cycles {
        1 => format!("a cycle{more}"),
        _ => format!("{cycles} cycles{more}"),
    }
}

fn remedy(recording: &Recording) -> &'static str {
    let events = &recording.events;
    let restarted = (0..events.rows()).any(|row| events.text("kind", row) == Some("restart"));
    if restarted {
        "switch off what recycles workers (gunicorn --max-requests 0, uvicorn without --limit-max-requests, PM2 without max_memory_restart, …), \
         or find out from target.log why they end, and run again"
    } else {
        "run again without a break, or longer"
    }
}

/// What a cleanup run has to say: who died has forgotten, too, and that proves nothing.
pub(super) fn of_cleanup(recording: &Recording) -> Option<Finding> {
    let table = &recording.readings;
    let readings: Vec<usize> = (0..table.rows())
        .filter(|row| table.text("kind", *row) == Some("cycle"))
        .collect();
    let changes = cut(table, &readings).len().saturating_sub(1);
    (changes > 0).then(|| {
        let text = format!(
            "{}: what it forgot in those rounds it may have forgotten by ending; {}",
            happened(recording, changes),
            remedy(recording)
        );
        Finding::plain(Statement::Inconclusive, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of readings with these generations; the first `priming` are not judged.
    fn laid_out(generations: &[&str], priming: usize, warm: usize) -> (Generations, Vec<usize>) {
        let rows: Vec<String> = generations.iter().map(|g| format!("cycle,{g}")).collect();
        let text = format!("kind,target_generation\n{}\n", rows.join("\n"));
        let (table, _) = Table::read(text.as_bytes(), &["kind"]).unwrap();
        let readings: Vec<usize> = (0..generations.len()).collect();
        let found = Generations::of(
            &table,
            &readings,
            |row| row >= priming,
            |before, row| row > before + warm,
        );
        let judged = found.judged();
        (found, judged)
    }

    #[test]
    fn a_target_that_stays_is_one_stretch_after_priming() {
        let (found, judged) = laid_out(&["0"; 6], 2, 2);
        assert_eq!(judged, [2, 3, 4, 5]);
        assert!(!found.is_split() && found.steps(&judged).is_empty());
        assert_eq!(found.whole(6), 0..6);
    }

    #[test]
    fn a_new_target_has_a_step_and_a_warm_up_of_its_own() {
        let (found, judged) = laid_out(&["0", "0", "0", "0", "1", "1", "1", "1", "1"], 1, 2);
        assert_eq!(judged, [1, 2, 3, 6, 7, 8]);
        assert_eq!(
            found.steps(&judged)[0].values,
            [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
        );
        assert_eq!((found.changes, found.left_out), (1, 2));
        assert_eq!(found.whole(9), 0..4, "of two equals the first");
    }

    #[test]
    fn one_replaced_in_priming_is_warmed_up_again() {
        let (found, judged) = laid_out(&["0", "1", "1", "1", "1", "1"], 2, 2);
        assert_eq!(judged, [3, 4, 5]);
        assert!(!found.is_split(), "nothing judged was split");
        assert_eq!(found.whole(6), 1..6, "but the rest before it was another's");
    }

    #[test]
    fn one_that_is_always_new_leaves_nothing_to_judge() {
        let (found, judged) = laid_out(&["0", "1", "2", "3", "4", "5"], 1, 1);
        assert_eq!(judged, [] as [usize; 0]);
        assert_eq!((found.left_out, found.planned), (5, 5));
        assert_eq!(found.whole(6), 0..0);
    }

    #[test]
    fn an_unread_generation_is_the_one_before() {
        let (found, _) = laid_out(&["0", "0", "", "0", "0"], 0, 1);
        assert!(!found.is_split());
        let (found, judged) = laid_out(&["", "", ""], 0, 1);
        assert!(!found.is_split() && judged.len() == 3, "an older recording");
    }
}
