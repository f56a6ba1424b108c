//! Numbers and names as a person reads them.

use std::{fmt::Write as _, time::Duration};

use super::{Finding, Statement};
use crate::{
    diagnose::{
        forecast::{Forecast, Production},
        interval::Interval,
        signal::{Signal, unit_name},
    },
    units::{Factor, Leave, bytes, grouped},
};

/// `2,816`, `18`, `0.43`: as many digits as mean something.
pub fn amount(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "any number of".into();
    }
    if size >= 10.0 {
        return grouped(whole(value));
    }
    let digits = if size >= 1.0 || size == 0.0 {
        1
    } else {
        significant(size)
    };
    let text = format!("{value:.digits$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        text.into()
    }
}

/// Digits after the point so that two are not zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 2 and 12"
)]
fn significant(size: f64) -> usize {
    (1.0 - size.log10().floor()).clamp(2.0, 12.0) as usize
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from float saturates"
)]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

/// `2,816 B`, `1.8 descriptors`, `160 µs of CPU per second`.
pub fn quantity(signal: Signal, value: f64) -> String {
    match signal {
        Signal::Cpu => format!("{} µs of CPU per second", amount(value * 1e6)),
        Signal::Descriptors | Signal::Threads | Signal::Tasks => {
            format!("{} {}", amount(value), signal.counts())
        }
        _ => format!("{} B", amount(value)),
    }
}

/// `95 %: 2,790 … 2,841`, in the unit of [`quantity`].
pub fn range(signal: Signal, low: f64, high: f64) -> String {
    let scale = if signal == Signal::Cpu { 1e6 } else { 1.0 };
    let end = |value: f64, unknown: &str| {
        if value.is_finite() {
            amount(value * scale)
        } else {
            unknown.into()
        }
    };
    format!("95 %: {} … {}", end(low, "-∞"), end(high, "∞"))
}

/// `per connection closed with FIN`.
pub fn per(factor: Factor) -> String {
    format!("per {}", one(factor))
}

/// One unit, in words.
pub fn one(factor: Factor) -> &'static str {
    match factor {
        Factor::Closed(leave) => connection(leave),
        Factor::AllClosed => "connection, however the client leaves",
        Factor::Left => "connection that the client leaves",
        Factor::Abrupt => "connection that ends without a goodbye",
        Factor::Session => "session",
        Factor::Turn => "turn",
        Factor::Event => "event",
        Factor::Time => "second",
        Factor::Control => "control block",
    }
}

fn connection(leave: Leave) -> &'static str {
    match leave {
        Leave::Complete => "connection that the server ends",
        Leave::Fin => "connection closed with FIN",
        Leave::Rst => "connection closed with RST",
        Leave::Early => "connection left before its first event",
        Leave::Stall => "connection that stopped reading",
        Leave::Slow => "connection read slowly",
        Leave::HalfClose => "connection closed on the client's side only",
        Leave::Vanish => "connection that vanished",
        Leave::Orphan => "connection that left its session behind",
    }
}

/// `LEAK  2,816 B per session (95 %: 2,790 … 2,841); no other above 18 B per connection`;
/// `NO LEAK above 18 B per connection, 31 B per session, 0.4 B per event (95 %)`.
pub fn headline(verdict: Statement, findings: &[Finding]) -> String {
    let (acquitted, open) = (
        bounds(findings, Statement::NoLeak),
        bounds(findings, Statement::Inconclusive),
    );
    match verdict {
        Statement::Leak if acquitted.is_empty() => format!("LEAK  {}", accusations(findings)),
        Statement::Leak => format!(
            "LEAK  {}; no other above {acquitted}",
            accusations(findings)
        ),
        Statement::NoLeak if acquitted.is_empty() => "NO LEAK".into(),
        Statement::NoLeak => format!("NO LEAK above {acquitted} (95 %)"),
        Statement::Inconclusive if !open.is_empty() => {
            format!("INCONCLUSIVE  up to {open} cannot be excluded")
        }
        other => {
            let first = findings.iter().find(|f| f.verdict.verdict() == other);
            let text = first.map_or("nothing was judged", |f| f.text.as_str());
            format!("{}  {text}", title(other))
        }
    }
}

fn title(verdict: Statement) -> &'static str {
    match verdict {
        Statement::TargetDied => "TARGET DIED",
        Statement::NotCleanedUp => "NOT CLEANED UP",
        Statement::Alarm => "ALARM",
        Statement::Backlog => "BACKLOG",
        Statement::UnexplainedGrowth => "UNEXPLAINED GROWTH",
        Statement::Saturating => "SATURATING",
        Statement::CleanedUp => "CLEANED UP",
        Statement::Held => "HELD",
        _ => "INCONCLUSIVE",
    }
}

/// Every accusation with a factor and numbers; failing that, the first sentence.
fn accusations(findings: &[Finding]) -> String {
    let guilty = || {
        findings
            .iter()
            .filter(|f| f.verdict.verdict() == Statement::Leak)
    };
    let said: Vec<String> = guilty().filter_map(accusation).collect();
    match guilty().next() {
        Some(first) if said.is_empty() => first.text.clone(),
        _ => said.join("; "),
    }
}

fn accusation(finding: &Finding) -> Option<String> {
    let (signal, factor) = (finding.signal?, finding.factor?);
    let rate = if finding.verdict == Statement::Zombie {
        " per second and"
    } else {
        ""
    };
    let how_much = quantity(signal, finding.bytes_per_unit?);
    let ends = range(
        signal,
        finding.low.unwrap_or(f64::NEG_INFINITY),
        finding.high.unwrap_or(f64::INFINITY),
    );
    let mut said = how_much;
    let _written = write!(said, "{rate} {} ({ends})", per(factor));
    Some(said)
}

/// The widest bound of each kind of unit.
fn bounds(findings: &[Finding], verdict: Statement) -> String {
    let widest = |unit: &str| {
        let of_unit = findings
            .iter()
            .filter(|f| f.verdict == verdict && f.factor.is_some_and(|f| unit_name(f) == unit));
        of_unit.filter_map(|f| f.upper_95).reduce(f64::max)
    };
    let units = ["connection", "session", "turn", "event"];
    let said = units
        .iter()
        .filter_map(|unit| Some(format!("{} B per {unit}", amount(widest(unit)?.max(0.0)))));
    said.collect::<Vec<String>>().join(", ")
}

/// `grows by 2,816 B per session (95 %: 2,790 … 2,841)`.
pub fn growth(signal: Signal, factor: Factor, interval: &Interval) -> String {
    let ends = range(signal, interval.low(), interval.high());
    format!(
        "{} {} ({ends})",
        quantity(signal, interval.estimate.slope),
        per(factor)
    )
}

/// `at 5 sessions/s the limit of 512 MiB is reached in 8 h 40 min (7 h 50 min … 9 h 35 min)`.
pub fn forecast(production: &Production, limit: f64, forecast: &Forecast) -> String {
    let given = production.rates.iter().filter(|(_, rate)| *rate > 0.0);
    let load: Vec<String> = given
        .map(|(factor, rate)| format!("{} {}s/s", amount(*rate), unit_name(*factor)))
        .collect();
    let load = if load.is_empty() {
        "without load".into()
    } else {
        format!("at {}", load.join(", "))
    };
    let end = |moment: Option<Duration>| moment.map_or_else(|| "never".into(), duration);
    let Some(at) = forecast.at else {
        return format!(
            "{load} nothing that was found leads to the limit of {}; not before {} (95 %)",
            bytes(limit),
            end(forecast.earliest)
        );
    };
    format!(
        "{load} the limit of {} is reached in {} ({} … {})",
        bytes(limit),
        duration(at),
        end(forecast.earliest),
        end(forecast.latest),
    )
}

/// The two largest units: `8 h 40 min`, `3 d 4 h`, `45 s`.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        (1..100, ..) => format!("{days} d {hours} h"),
        _ => format!("{} d", grouped(i64::try_from(days).unwrap_or(i64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_as_many_digits_as_mean_something() {
        for (value, text) in [
            (2816.4, "2,816"),
            (18.0, "18"),
            (-1_234_567.0, "-1,234,567"),
            (4.96, "5"),
            (1.78, "1.8"),
            (0.4321, "0.43"),
            (0.000_157, "0.00016"),
            (0.0, "0"),
            (-1e-9, "-0.000000001"),
            (f64::INFINITY, "any number of"),
        ] {
            assert_eq!(amount(value), text);
        }
    }

    #[test]
    fn quantities_carry_their_unit() {
        assert_eq!(quantity(Signal::Allocated, 2816.0), "2,816 B");
        assert_eq!(quantity(Signal::Cpu, 157e-6), "157 µs of CPU per second");
        assert_eq!(quantity(Signal::Descriptors, 1.78), "1.8 descriptors");
        assert_eq!(range(Signal::Rss, 2790.0, 2841.0), "95 %: 2,790 … 2,841");
        assert_eq!(
            range(Signal::Rss, f64::NEG_INFINITY, f64::INFINITY),
            "95 %: -∞ … ∞"
        );
    }
}
