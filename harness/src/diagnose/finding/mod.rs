//! Findings: what is said about a run, in a form that machines and people read (the design, §5).
//!
//! In: a [`Judgement`](super::verdict::Judgement). Out: [`Findings`], which is `findings.json` as it stands: versioned, every statement with its numbers,
//! its assumptions and one sentence. Start at [`findings`]. Numbers are in the unit that the finding names; what is not known
//! is left out (`null`), never 0. Other stages add findings of their own ([`Findings::new`] takes any list); the verdict of the
//! run and its exit code follow from the list alone.

use serde::{Deserialize, Serialize};

use super::{allocations::Allocations, interval::Interval, signal::Signal, staircase::Stair};
use crate::units::Factor;

mod compose;
pub mod sentence;

pub use compose::findings;

/// Raised when a field changes its meaning; new fields do not raise it.
pub const VERSION: u32 = 1;

/// What one finding says. In the order of weight: the first found decides the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statement {
    /// The target died or ran out of memory.
    TargetDied,
    /// An alarm or stop condition ended the run.
    Alarm,
    /// A closed connection goes on eating.
    Zombie,
    /// Memory or a counter follows a factor, and goes on.
    Leak,
    /// Bytes that grow while the number of streams does not: behind readers that stall or crawl.
    Backlog,
    /// When what leaks will have reached the limit.
    Forecast,
    /// Sessions are there that should be gone.
    NotCleanedUp,
    /// Something grows, and no factor could be named.
    UnexplainedGrowth,
    /// The positive control was not found: the judge was blind.
    ControlMissed,
    /// Something followed a factor until it did not.
    Saturating,
    /// The allocation profile and the measurement without it do not fit together.
    Contradiction,
    /// Not enough is known.
    Inconclusive,
    /// Resident memory that is not live: caches, pools, fragmentation.
    Retention,
    /// No more than so much per unit.
    NoLeak,
    /// No more than so much per second behind a reader that stalls or crawls.
    NoBacklog,
    /// Every step of a step load was served within its limits.
    Held,
    /// Everybody who left was forgotten in time.
    CleanedUp,
    /// The positive control was found: the judge could see.
    ControlFound,
    /// Shown beside the verdict, and not judged.
    Beside,
    /// The factor was never given: nothing is known about it.
    NotDosed,
    /// The factor was never given apart from others: it is judged with them.
    Inseparable,
}

impl Statement {
    /// The exit code if this decides the run (the design, §3). Growth without a name, an effect that flattens and a blind judge
    /// leave the question open: 12. What is only shown beside a verdict does not decide: 0.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::TargetDied => 20,
            Self::Leak | Self::Zombie | Self::Backlog => 10,
            Self::NotCleanedUp => 11,
            Self::Alarm => 13,
            Self::UnexplainedGrowth
            | Self::ControlMissed
            | Self::Saturating
            | Self::Contradiction
            | Self::Inconclusive => 12,
            Self::Retention
            | Self::NoLeak
            | Self::NoBacklog
            | Self::Held
            | Self::CleanedUp
            | Self::Forecast
            | Self::ControlFound
            | Self::Beside
            | Self::NotDosed
            | Self::Inseparable => 0,
        }
    }

    /// Whether it decides the run rather than being shown beside.
    fn decides(self) -> bool {
        self.exit_code() != 0
    }

    /// The verdict of a run that this decides.
    fn verdict(self) -> Self {
        match self {
            Self::Zombie => Self::Leak,
            Self::ControlMissed | Self::Contradiction => Self::Inconclusive,
            other => other,
        }
    }
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it says.
    pub verdict: Statement,
    /// About which factor; `all` is every close.
    #[serde(with = "factor_name")]
    pub factor: Option<Factor>,
    /// In which signal.
    pub signal: Option<Signal>,
    /// How much per unit, in `unit`.
    pub bytes_per_unit: Option<f64>,
    /// Its standard error.
    pub se: Option<f64>,
    /// Degrees of freedom.
    pub dof: Option<f64>,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// One-sided 95 % bound.
    pub upper_95: Option<f64>,
    /// How many units were delivered after priming.
    pub units: Option<f64>,
    /// What the numbers count, such as `bytes per connection`.
    pub unit: String,
    /// What had to be taken for granted.
    pub assumptions: Vec<String>,
    /// One sentence.
    pub text: String,
    /// Of a forecast: the limit, and when it will be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Reached>,
}

/// When a limit will be reached, counted from the last reading.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// The limit, bytes.
    pub limit_bytes: f64,
    /// What counts against it now, bytes.
    pub present_bytes: f64,
    /// The likeliest moment, seconds; `None` is never.
    pub in_s: Option<f64>,
    /// The earliest, 95 %.
    pub earliest_s: Option<f64>,
    /// The latest, 95 %.
    pub latest_s: Option<f64>,
}

impl Finding {
    /// A statement without numbers.
    pub fn plain(verdict: Statement, text: impl Into<String>) -> Self {
        Self {
            verdict,
            factor: None,
            signal: None,
            bytes_per_unit: None,
            se: None,
            dof: None,
            low: None,
            high: None,
            upper_95: None,
            units: None,
            unit: String::new(),
            assumptions: Vec::new(),
            text: text.into(),
            reached: None,
        }
    }

    /// With the numbers of an interval.
    #[must_use]
    pub fn measured(mut self, interval: &Interval) -> Self {
        let known = |value: f64| value.is_finite().then_some(value);
        self.bytes_per_unit = known(interval.estimate.slope);
        self.se = known(interval.estimate.se);
        self.dof = known(interval.estimate.dof);
        self.low = known(interval.low());
        self.high = known(interval.high());
        self.upper_95 = known(interval.upper());
        self
    }
}

/// `findings.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// The version of the format.
    pub version: u32,
    /// The sum of the findings.
    pub verdict: Statement,
    /// What the program ends with.
    pub exit_code: u8,
    /// The verdict in a line.
    pub text: String,
    /// The statements, the heaviest first.
    pub findings: Vec<Finding>,
    /// Of a step load: its steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Stair>,
    /// Which lines keep what, if that was profiled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocations: Option<Allocations>,
}

impl Findings {
    /// Sums up statements. Nothing decided and nothing acquitted is inconclusive: silence is no clean bill.
    pub fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|f| f.verdict);
        let deciding = findings.iter().map(|f| f.verdict).find(|v| v.decides());
        let acquitted = [Statement::NoLeak, Statement::CleanedUp, Statement::Held]
            .into_iter()
            .find(|acquittal| findings.iter().any(|f| f.verdict == *acquittal));
        let otherwise = acquitted.unwrap_or(Statement::Inconclusive);
        let verdict = deciding.map_or(otherwise, Statement::verdict);
        let exit_code = deciding.map_or(otherwise.exit_code(), Statement::exit_code);
        Self {
            version: VERSION,
            verdict,
            exit_code,
            text: sentence::headline(verdict, &findings),
            findings,
            steps: Vec::new(),
            allocations: None,
        }
    }

    /// The same with more statements: what the conductor saw (an alarm, a death), what the cleanup found.
    #[must_use]
    pub fn with(mut self, more: impl IntoIterator<Item = Finding>) -> Self {
        self.findings.extend(more);
        Self {
            steps: self.steps,
            allocations: self.allocations,
            ..Self::new(self.findings)
        }
    }
}

mod factor_name {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::units::Factor;

    #[expect(
        clippy::ref_option,
        reason = "serde hands over a reference to the field"
    )]
    pub(super) fn serialize<S: Serializer>(
        factor: &Option<Factor>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        factor.map(Factor::name).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Factor>, D::Error> {
        let name = Option::<String>::deserialize(from)?;
        name.map(|n| n.parse().map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests;
