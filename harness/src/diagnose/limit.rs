//! When the limit that a profile names will be reached: the forecast's arithmetic laid beside where a recording stands.
//!
//! In: a [`Recording`] with a forecast in its profile, and the [`Judgement`] of it. Out: one [`Finding`]. What is counted against
//! which limit is the profile's choice; what cannot be read leaves no forecast, and that is said.

use std::time::Duration;

use crate::{
    profile::{Account, Forecast as Asked, Limit},
    record::{Recording, Series, Table},
    units::{Factor, bytes},
};

use super::{
    finding::{Finding, Reached, Statement, sentence},
    forecast::Production,
    signal::Signal,
    verdict::{Effect, Judgement},
};

/// The forecast, if the profile asks for one and there was a look to make it from.
pub fn findings(recording: &Recording, judgement: &Judgement) -> Option<Finding> {
    let asked = recording.manifest.plan.forecast.as_ref()?;
    let look = judgement.look.as_ref()?;
    let Some(stand) = stand(recording, asked, judgement.signal?) else {
        let text = "no forecast: the limit, or what counts against it, was not read";
        return Some(Finding::plain(Statement::Beside, text));
    };
    let is_asked = asked.rates.values().any(|rate| rate.get() > 0.0);
    if !is_asked && !look.leaks.contains(&Factor::Time) {
        return None; // nothing comes, and nothing grows by itself: there is only the limit, for whoever else asks
    }
    let production = Production {
        rates: asked
            .rates
            .iter()
            .map(|(unit, rate)| (unit.0, rate.get()))
            .collect(),
        headroom: stand.limit - stand.now - stand.busy,
    };
    let forecast = production.forecast(look);
    let said = sentence::forecast(&production, stand.limit, &forecast);
    let mut text = format!("{said}; it stands at {} of {}", bytes(stand.now), stand.of);
    if judgement
        .leaks
        .iter()
        .any(|leak| matches!(leak.effect, Effect::PerSecond(_)))
    {
        text.push_str("; what goes on eating after it has closed is not in it: sooner, then");
    }
    let seconds = |moment: Option<Duration>| moment.map(|moment| moment.as_secs_f64());
    let mut finding = Finding::plain(Statement::Forecast, text);
    let (rate, half) = forecast.rate;
    finding.signal = judgement.signal;
    finding.bytes_per_unit = Some(rate);
    (finding.low, finding.high) = (Some(rate - half), Some(rate + half));
    finding.unit = "bytes per second".into();
    finding.reached = Some(Reached {
        limit_bytes: stand.limit,
        present_bytes: stand.now,
        in_s: seconds(forecast.at),
        earliest_s: seconds(forecast.earliest),
        latest_s: seconds(forecast.latest),
    });
    Some(finding)
}

/// Where the target stands, bytes.
pub(super) struct Stand {
    pub(super) limit: f64,
    pub(super) now: f64,
    /// What the connections of the busiest hour need.
    busy: f64,
    of: &'static str,
}

pub(super) fn stand(recording: &Recording, asked: &Asked, signal: Signal) -> Option<Stand> {
    let (samples, readings) = (&recording.samples, &recording.readings);
    let cgroup = || {
        Some((
            last(samples, "cgroup_limit_bytes")?,
            last(samples, "cgroup_bytes")?,
        ))
    };
    let host = || {
        let total = last(samples, "host_memory_total_bytes")?;
        Some((total, total - last(samples, "host_memory_available_bytes")?))
    };
    let series = match (asked.of, signal) {
        (Account::Live, Signal::Allocated) => Series::Allocated,
        (Account::Live, Signal::PssAnon) => Series::PssAnon,
        (Account::Live, Signal::RssAnon) => Series::Anon,
        _ => Series::Rss,
    };
    let told = |(limit, now): (f64, f64), of| (limit, now, of);
    let (limit, now, of) = match asked.limit {
        Limit::Size(size) if series == Series::Rss => (
            size.0 as f64,
            last(readings, series.name())?,
            "resident memory",
        ),
        Limit::Size(size) => (size.0 as f64, last(readings, series.name())?, "live memory"),
        Limit::Cgroup => told(cgroup()?, "the control group's memory"),
        Limit::Host => told(host()?, "the machine's memory"),
        Limit::Nearest => match cgroup() {
            Some(one) => told(one, "the control group's memory"),
            None => told(host()?, "the machine's memory"),
        },
    };
    let busy = f64::from(asked.connections) * each(recording, series).unwrap_or(0.0);
    Some(Stand {
        limit,
        now,
        busy,
        of,
    })
}

/// What one connection of the last probe cost while it was open.
fn each(recording: &Recording, series: Series) -> Option<f64> {
    let readings = &recording.readings;
    let peak = last(readings, &format!("probe_{}", series.name()))?;
    let live = last(readings, "probe_connections")?;
    Some((peak - last(readings, series.name())?).max(0.0) / live.max(1.0))
}

/// The last value that was read.
fn last(table: &Table, name: &str) -> Option<f64> {
    let values = table.numbers(name)?.iter().rev();
    values.copied().find(|value| value.is_finite())
}
