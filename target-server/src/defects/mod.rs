//! The planted leaks: off by default, combinable, each in a file of its own with its ground truth in bytes per unit.
//!
//! In: `--defect NAME[=every:N][+bytes:N]`, parsed into [`Defects`]. Out: [`Leaks`], the value that the data thread is handed, and the
//! [`Truth`] of each in `GET /v1/status`. Start at [`Leak`]: its methods are the seams, and a leak implements one or two of them.
//! The honest server holds an empty [`Leaks`], and every seam is then a loop over nothing.
//!
//! Garbage is one block per unit: forgotten, or kept in a `LinkedList` with its links inside. A `Vec` would double, and what follows
//! the units would no longer be a line. Innocents (nothing leaks, though memory grows) are planted in the same way, with a truth of 0.

mod cache_slow_warm_up;
mod cache_that_fills;
mod fragmentation;
mod half_close;
mod history_unbounded;
mod leak_on_early;
mod leak_on_expiry;
mod leak_on_rst;
mod leak_per_tick;
mod metric_label_per_client;
mod reference_cycle;
mod replay_log;
mod sender_kept;
mod session_kept_on_disconnect;
mod session_never_expires;
mod task_outlives_client;
mod timer_per_connection;
mod unbounded_queue;
mod zombie_producer;

mod plant;
mod seams;

pub(crate) use plant::Plant;
pub(crate) use seams::{Ended, Leak, Leaks, Slot};

use std::{num::NonZeroU32, sync::Arc};

use serde::Serialize;

use crate::{config::DefectSpec, instruments::Total};

/// Every planted leak there is, in the order in which a person meets them: sessions, streams, queues, events, time, the kernel,
/// and the innocents.
static KINDS: [Kind; 19] = [
    session_never_expires::KIND,
    session_kept_on_disconnect::KIND,
    history_unbounded::KIND,
    leak_on_expiry::KIND,
    sender_kept::KIND,
    task_outlives_client::KIND,
    zombie_producer::KIND,
    timer_per_connection::KIND,
    unbounded_queue::KIND,
    replay_log::KIND,
    reference_cycle::KIND,
    metric_label_per_client::KIND,
    leak_on_rst::KIND,
    leak_on_early::KIND,
    leak_per_tick::KIND,
    half_close::KIND,
    fragmentation::KIND,
    cache_that_fills::KIND,
    cache_slow_warm_up::KIND,
];

/// One leak on the list.
pub(crate) struct Kind {
    /// The word after `--defect`.
    name: &'static str,
    /// What it follows, in the harness's words; `None` for an innocent.
    unit: Option<&'static str>,
    /// How many strikes make one unit: more than one where a clock strikes faster than once a second.
    strikes_per_unit: u32,
    /// The least that `bytes:N` may ask for; `None`: its size is its own.
    least_bytes: Option<usize>,
    /// What it does and what a unit is, in one sentence.
    text: &'static str,
    /// Makes it, on the data thread.
    plant: fn(Plant) -> Box<dyn Leak>,
}

/// Every name `--defect` accepts.
pub fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

/// The allowed names as a sentence part.
pub fn allowed() -> String {
    names().collect::<Vec<_>>().join(", ")
}

/// A defect that is not on the list, or a rate that is not one.
#[derive(Debug, thiserror::Error)]
#[error("--defect {given}: {why}; the defects are: {}", allowed())]
pub struct UnknownDefect {
    given: String,
    why: &'static str,
}

/// The planted leaks of this run. Honest when empty. Clones share their counts: the data thread writes, the admin thread reads.
#[derive(Clone, Debug, Default)]
pub struct Defects {
    planted: Vec<Arc<Planted>>,
}

/// One planted leak, how often it strikes, and what it took so far.
pub(crate) struct Planted {
    kind: &'static Kind,
    every: NonZeroU32,
    /// What a strike takes, where it was asked for; as the leak has it, where not.
    size: Option<usize>,
    units: Total,
    strikes: Total,
    bytes: Total,
}

impl std::fmt::Debug for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=every:{}", self.kind.name, self.every)?;
        self.size.map_or(Ok(()), |size| write!(f, "+bytes:{size}"))
    }
}

/// The ground truth of one planted leak, for `GET /v1/status`.
#[derive(Clone, Debug, Serialize)]
pub struct Truth {
    /// One of [`names`].
    pub name: &'static str,
    /// What it follows: `session`, `event`, `rst`, …; `none` for an innocent.
    pub unit: &'static str,
    /// Bytes the allocator keeps per unit that came by, those spared by `every:N` included: the slope a harness should see.
    /// Unknown before the first strike.
    pub bytes_per_unit: Option<f64>,
    /// How many units came by so far, spared or not.
    pub units_total: u64,
    /// It strikes one unit in so many.
    pub every: u32,
    /// One sentence.
    pub text: &'static str,
}

impl Defects {
    /// Reads what was asked for.
    ///
    /// # Errors
    /// Names the part that is unknown and lists what is allowed.
    pub fn parse(specs: &[DefectSpec]) -> Result<Self, UnknownDefect> {
        specs
            .iter()
            .map(|spec| one(&spec.0).map(Arc::new))
            .collect::<Result<_, _>>()
            .map(|planted| Self { planted })
    }

    /// What each has taken so far.
    pub fn report(&self) -> Vec<Truth> {
        self.planted.iter().map(|planted| planted.truth()).collect()
    }
}

impl Planted {
    fn truth(&self) -> Truth {
        let per_unit = u64::from(self.kind.strikes_per_unit);
        Truth {
            name: self.kind.name,
            unit: self.kind.unit.unwrap_or("none"),
            bytes_per_unit: self.bytes_per_unit(),
            units_total: self.units.get() / per_unit,
            every: self.every.get(),
            text: self.kind.text,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "2^53 bytes are more than there are"
    )]
    fn bytes_per_unit(&self) -> Option<f64> {
        let (strikes, bytes) = (self.strikes.get(), self.bytes.get());
        match self.kind.unit {
            None => Some(0.0),
            Some(_) if strikes == 0 => None,
            Some(_) => {
                let struck = bytes as f64 / strikes as f64;
                Some(struck * f64::from(self.kind.strikes_per_unit) / f64::from(self.every.get()))
            }
        }
    }
}

fn one(text: &str) -> Result<Planted, UnknownDefect> {
    let refuse = |why| UnknownDefect {
        given: text.to_owned(),
        why,
    };
    let (name, settings) = match text.split_once('=') {
        Some((name, settings)) => (name, Some(settings)),
        None => (text, None),
    };
    let kind = KINDS
        .iter()
        .find(|kind| kind.name == name)
        .ok_or_else(|| refuse("unknown name"))?;
    let mut planted = Planted {
        kind,
        every: NonZeroU32::MIN,
        size: None,
        units: Total::default(),
        strikes: Total::default(),
        bytes: Total::default(),
    };
    for setting in settings
        .into_iter()
        .flat_map(|settings| settings.split('+'))
    {
        planted.set(setting).map_err(refuse)?;
    }
    Ok(planted)
}

/// Blocks larger than this are no leak of small things.
const MOST_BYTES: usize = 1 << 20;

impl Planted {
    /// Takes `every:N` or `bytes:N`, or says how they are written.
    fn set(&mut self, setting: &str) -> Result<(), &'static str> {
        if let Some(size) = setting.strip_prefix("bytes:") {
            let least = self
                .kind
                .least_bytes
                .ok_or("what this one takes cannot be chosen")?;
            let size = size.parse().ok().filter(|size| *size <= MOST_BYTES);
            let size = size.filter(|size| *size >= least);
            self.size =
                Some(size.ok_or(
                    "a size is written bytes:N with N from 16 (a label: from 64) to 1048576",
                )?);
            return Ok(());
        }
        let rate = setting.strip_prefix("every:").and_then(|n| n.parse().ok());
        self.every = rate
            .ok_or("settings are every:N with N at least 1, and for some bytes:N, joined by +")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(specs: &[&str]) -> Result<Defects, UnknownDefect> {
        let specs: Vec<_> = specs
            .iter()
            .map(|spec| DefectSpec((*spec).to_owned()))
            .collect();
        Defects::parse(&specs)
    }

    #[test]
    fn a_name_with_or_without_a_rate_is_understood_and_anything_else_is_refused_with_the_list() {
        let two = parse(&["replay-log", "leak-on-rst=every:4"]).expect("two leaks");
        assert_eq!(
            format!("{two:?}"),
            "Defects { planted: [replay-log=every:1, leak-on-rst=every:4] }"
        );
        for wrong in [
            "",
            "no-such-leak",
            "replay-log=4",
            "replay-log=every:0",
            "replay-log=every:",
        ] {
            let text = parse(&[wrong]).expect_err("refused").to_string();
            assert!(
                text.contains(wrong) && text.contains("cache-slow-warm-up"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_size_is_understood_where_it_can_be_chosen_alone_and_beside_a_rate() {
        for (asked, planted) in [
            ("leak-on-rst=bytes:64", "leak-on-rst=every:1+bytes:64"),
            (
                "replay-log=every:4+bytes:256",
                "replay-log=every:4+bytes:256",
            ),
            ("replay-log=bytes:16+every:2", "replay-log=every:2+bytes:16"),
        ] {
            let defects = parse(&[asked]).expect(asked);
            assert_eq!(
                format!("{defects:?}"),
                format!("Defects {{ planted: [{planted}] }}")
            );
        }
        for (wrong, why) in [
            ("sender-kept=bytes:64", "cannot be chosen"),
            ("leak-on-rst=bytes:", "bytes:N"),
            ("leak-on-rst=bytes:15", "from 16"),
            ("leak-on-rst=bytes:1048577", "to 1048576"),
            ("metric-label-per-client=bytes:63", "from 64"),
            ("leak-on-rst=size:64", "every:N"),
            ("leak-on-rst=bytes:64+", "every:N"),
        ] {
            let text = parse(&[wrong]).expect_err(wrong).to_string();
            assert!(text.contains(why), "{text}");
        }
    }

    #[test]
    fn the_truth_is_the_average_over_the_units_that_came_by() {
        let defects = parse(&["leak-on-rst=every:4", "fragmentation"]).expect("two");
        let planted = &defects.planted[0];
        assert_eq!(
            planted.truth().bytes_per_unit,
            None,
            "nothing is known before the first strike"
        );
        planted.units.add(7);
        planted.strikes.add(1);
        planted.bytes.add(1024);
        let truth = &defects.report()[0];
        assert_eq!((truth.bytes_per_unit, truth.units_total), (Some(256.0), 7));
        assert_eq!(
            defects.report()[1].bytes_per_unit,
            Some(0.0),
            "an innocent leaks nothing"
        );
    }

    #[test]
    fn every_name_is_given_once() {
        let mut all: Vec<_> = names().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), KINDS.len());
    }
}
