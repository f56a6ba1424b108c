//! What is said about backlogs, beside what leaks.

use crate::{
    record::Recording,
    units::{Factor, Leave, bytes},
};

use super::{
    super::{
        finding::{Finding, Reached, Statement, sentence},
        interval::Interval,
        limit,
        signal::Signal,
        stats::order::median,
    },
    Backlog, TOLERATED, Window, judge, windows,
};

/// From this share on, what a dose added is said to have fallen back.
const FELL_BACK: f64 = 0.9;

/// A finding for every way of reading that can be judged. Silence where there were no such readers; but where the profile asks for a
/// bound and none can be given, that is said, and decides.
pub fn findings(recording: &Recording) -> Vec<Finding> {
    let plan = &recording.manifest.plan;
    let asked = plan.tolerances.backlog;
    let (signal, windows) =
        windows(&recording.samples, &recording.readings).unwrap_or((Signal::Rss, Vec::new()));
    let speaker = Speaker {
        recording,
        signal,
        windows: &windows,
        tolerated: asked.map_or(TOLERATED, |rate| f64::from(rate.get())),
        is_asked: asked.is_some(),
    };
    let all: Vec<Finding> = judge(&windows, signal)
        .iter()
        .map(|backlog| speaker.say(backlog))
        .collect();
    if all.is_empty() && asked.is_some() {
        return vec![Finding::plain(
            Statement::Inconclusive,
            "nothing is known about backlogs: it takes doses of an assay with readers who stall or crawl, and others without, \
             each long enough for six samples in its last third",
        )];
    }
    all
}

struct Speaker<'a> {
    recording: &'a Recording,
    signal: Signal,
    windows: &'a [Window],
    tolerated: f64,
    is_asked: bool,
}

impl Speaker<'_> {
    fn say(&self, backlog: &Backlog) -> Finding {
        let Backlog { interval, .. } = backlog;
        if backlog.is_backlog() && interval.estimate.slope > self.tolerated {
            let (forecast, reached) = self.forecast(backlog).unzip();
            let mut finding = self.about(Statement::Backlog, backlog, self.accusation(backlog));
            finding.text.push_str(&forecast.unwrap_or_default());
            finding.reached = reached;
            return finding;
        }
        if interval.upper() <= self.tolerated {
            let text = format!(
                "no backlog above {} B per second and {} (95 %), late in {} doses of {}",
                sentence::amount(interval.upper().max(interval.systematic)),
                one(backlog.reader),
                backlog.doses.0,
                backlog.doses.1,
            );
            return self.about(Statement::NoBacklog, backlog, text);
        }
        self.open(backlog)
    }

    fn accusation(&self, backlog: &Backlog) -> String {
        let Interval { estimate, .. } = backlog.interval;
        let ends = sentence::range(self.signal, backlog.interval.low(), backlog.interval.high());
        format!(
            "memory grows by {} B per second behind every {} while their number stays the same ({ends}); {}{}",
            sentence::amount(estimate.slope),
            one(backlog.reader),
            self.what_became_of_it(backlog.reader),
            self.kernel(backlog),
        )
    }

    /// Whether it fell back after they had left.
    fn what_became_of_it(&self, reader: Leave) -> String {
        let here = self.windows.iter().filter(|w| w.readers(reader) > 0.0);
        let stayed: Vec<f64> = here
            .filter_map(|w| Some(w.stayed? / w.added.filter(|added| *added > 0.0)?))
            .collect();
        let Some(gone) = median(&stayed).map(|stayed| (1.0 - stayed).clamp(0.0, 1.0)) else {
            return "whether it fell back when they left is not known".into();
        };
        let percent = sentence::amount((100.0 * gone).round());
        if gone >= FELL_BACK {
            format!(
                "{percent} % of it fell back when they left: a queue without a limit, not a leak"
            )
        } else {
            format!("only {percent} % of it fell back when they left")
        }
    }

    fn kernel(&self, backlog: &Backlog) -> String {
        let here = self
            .windows
            .iter()
            .filter(|w| w.readers(backlog.reader) > 0.0);
        let held: Vec<f64> = here
            .filter_map(|w| Some(w.kernel? / w.readers.iter().sum::<f64>().max(1.0)))
            .collect();
        let held = median(&held).map(|held| {
            format!(
                "; beside it the kernel holds {} for each of them in its send queue",
                bytes(held)
            )
        });
        held.unwrap_or_default()
    }

    /// When so many readers as a dose had would fill what is left below the limit that the profile names.
    fn forecast(&self, backlog: &Backlog) -> Option<(String, Reached)> {
        let asked = self.recording.manifest.plan.forecast.as_ref()?;
        let stand = limit::stand(self.recording, asked, self.signal)?;
        let room = (stand.limit - stand.now).max(0.0);
        let reached = |rate: f64| (rate > 0.0).then(|| room / (rate * backlog.readers));
        let interval = backlog.interval;
        let told = |seconds: Option<f64>| {
            let moment = seconds.and_then(|s| std::time::Duration::try_from_secs_f64(s).ok());
            moment.map_or_else(|| "never".into(), sentence::duration)
        };
        let reached = Reached {
            limit_bytes: stand.limit,
            present_bytes: stand.now,
            in_s: reached(interval.estimate.slope),
            earliest_s: reached(interval.high()),
            latest_s: reached(interval.low()),
        };
        let text = format!(
            "; {} of them reach the limit of {} in {} ({} … {})",
            sentence::amount(backlog.readers.round()),
            bytes(stand.limit),
            told(reached.in_s),
            told(reached.earliest_s),
            told(reached.latest_s),
        );
        Some((text, reached))
    }

    /// Neither accused nor acquitted. It decides only where a bound was asked for, and is about no factor of the regression then.
    fn open(&self, backlog: &Backlog) -> Finding {
        let bound = format!(
            "up to {} B per second and {} cannot be excluded (tolerated: {} B)",
            sentence::amount(backlog.interval.upper()),
            one(backlog.reader),
            sentence::amount(self.tolerated),
        );
        let text = if backlog.grew && !backlog.goes_on {
            format!(
                "{bound}: what grew slowed down before the doses ended, a queue that fills; longer doses would tell"
            )
        } else {
            format!("{bound}: longer doses, more readers in them or more cycles would tell")
        };
        let statement = if self.is_asked {
            Statement::Inconclusive
        } else {
            Statement::Beside
        };
        let mut finding = self.about(statement, backlog, format!("backlog: {text}"));
        finding.factor = None;
        finding
    }

    fn about(&self, verdict: Statement, backlog: &Backlog, text: String) -> Finding {
        let mut finding = Finding::plain(verdict, text).measured(&backlog.interval);
        finding.factor = Some(Factor::Closed(backlog.reader));
        finding.signal = Some(self.signal);
        finding.units = Some(backlog.readers * backlog.doses.0 as f64);
        finding.unit = format!("bytes per second and {}", one(backlog.reader));
        finding.assumptions = vec![
            "a queue with a limit is full after two thirds of a dose".into(),
            format!(
                "below {} B/s it is tolerated",
                sentence::amount(self.tolerated)
            ),
        ];
        finding
    }
}

fn one(reader: Leave) -> &'static str {
    if reader == Leave::Slow {
        "slow reader"
    } else {
        "stalled reader"
    }
}
