//! OpenMetrics of a run under way: what `samples.csv` holds, under the same names, and what can be said so far. No I/O.

use std::fmt::{Display, Write as _};

use super::{so_far::SoFar, state::State};

/// Everything for a scraper: the last sample, column by column, and what can be said so far.
pub(super) fn metrics(state: &State, viewers: usize, frames_lost: u64) -> String {
    let mut page = Page(String::new());
    for (column, value) in &state.last {
        page.one(column, "The column of that name in samples.csv.", value);
    }
    let (phase, cycle, _, longest) = state.now().place();
    page.one(
        "longest_s",
        "How long the run may take at most, seconds.",
        &longest,
    );
    if !phase.is_empty() {
        let labels = format!("{{phase=\"{}\"}}", label(phase));
        let help = "The cycle under way, with its phase; negative while priming.";
        page.family("phase_cycle", help, &[(labels, cycle)]);
    }
    effects(&mut page, state.so_far());
    latency(&mut page, state);
    page.one("dashboard_viewers", "Who is looking.", &viewers);
    page.one(
        "dashboard_frames_lost_total",
        "Frames that slow viewers did not get.",
        &frames_lost,
    );
    page.0 + "# EOF\n"
}

fn effects(page: &mut Page, so_far: &[SoFar]) {
    const HELP: &str =
        "Bytes per unit of a factor so far; low and high: its always-valid 95 % interval.";
    let mut family = |name: &str, pick: &dyn Fn(&SoFar) -> Option<f64>| {
        let one =
            |so_far: &SoFar| Some((format!("{{factor=\"{}\"}}", so_far.factor), pick(so_far)?));
        let samples: Vec<(String, f64)> = so_far.iter().filter_map(one).collect();
        page.family(name, HELP, &samples);
    };
    family("effect_bytes", &|one| Some(one.estimate));
    family("effect_low_bytes", &|one| {
        Some(one.estimate - one.half_width?)
    });
    family("effect_high_bytes", &|one| {
        Some(one.estimate + one.half_width?)
    });
}

fn latency(page: &mut Page, state: &State) {
    let both = |(of, (p50, p99)): (&String, &(f64, f64))| {
        let labels = |quantile: &str| format!("{{of=\"{}\",quantile=\"{quantile}\"}}", label(of));
        [(labels("0.5"), p50 / 1e6), (labels("0.99"), p99 / 1e6)]
    };
    let samples: Vec<(String, f64)> = state.latencies().iter().flat_map(both).collect();
    page.family(
        "latency_seconds",
        "Percentiles of the last interval, by the clock of the plan.",
        &samples,
    );
}

struct Page(String);

impl Page {
    /// A metric without labels.
    fn one(&mut self, name: &str, help: &str, value: &impl Display) {
        self.family(name, help, &[(String::new(), value)]);
    }

    /// A metric with a sample for each set of labels; nothing if there is none. What ends in `_total` only rises.
    fn family(&mut self, name: &str, help: &str, samples: &[(String, impl Display)]) {
        if samples.is_empty() {
            return;
        }
        let (base, kind) = match name.strip_suffix("_total") {
            Some(base) => (base, "counter"),
            None => (name, "gauge"),
        };
        let mut put = |line: std::fmt::Arguments<'_>| {
            self.0.write_fmt(line).expect("a string takes everything")
        };
        put(format_args!(
            "# TYPE sse_soak_{base} {kind}\n# HELP sse_soak_{base} {help}\n"
        ));
        for (labels, value) in samples {
            put(format_args!("sse_soak_{name}{labels} {value}\n"));
        }
    }
}

/// A label's value, as OpenMetrics escapes it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{super::state::About, *};

    #[test]
    fn a_scraper_finds_every_column_under_its_name_and_an_end() {
        let mut state = State::new(About {
            longest: 60.0,
            cycles: 28,
        });
        let numbers = [("t_s", 2.0), ("rss_bytes", 4096.0), ("opened_total", 7.0)];
        state.sample(
            "dose",
            -1,
            numbers
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
        );
        state.latency("first-event", 900.0, 2500.0);
        let text = metrics(&state, 2, 0);
        for line in [
            "# TYPE sse_soak_opened counter",
            "sse_soak_opened_total 7",
            "sse_soak_rss_bytes 4096",
            "sse_soak_phase_cycle{phase=\"dose\"} -1",
            "sse_soak_latency_seconds{of=\"first-event\",quantile=\"0.99\"} 0.0025",
            "sse_soak_dashboard_viewers 2",
        ] {
            assert!(
                text.lines().any(|known| known == line),
                "no `{line}` in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
