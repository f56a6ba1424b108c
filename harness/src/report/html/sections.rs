//! The parts of the page, from the verdict down.

use super::{
    figure::{self, Frame},
    folded,
    series::Summary,
    table,
};
use crate::{
    diagnose::{
        finding::{Finding, Findings, Statement, sentence::amount},
        response::{Response, Responses},
        signal::Signal,
    },
    page::{escaped, foreign},
    record::{Recording, Table},
    report::facts::{Facts, times, whole},
    units::bytes,
};

/// Rows of the events' table; a run that has more is read in events.csv.
const MOST_EVENTS: usize = 500;

/// Which colour a statement has. The words say the same: nobody has to see the colour.
fn class(verdict: Statement) -> &'static str {
    let acquits = matches!(
        verdict,
        Statement::NoLeak | Statement::NoBacklog | Statement::CleanedUp | Statement::ControlFound
    );
    match verdict.exit_code() {
        0 if acquits => "good",
        0 => "plain",
        12 => "unsure",
        _ => "bad",
    }
}

/// The name that `findings.json` uses, with spaces.
fn name(verdict: Statement) -> String {
    let json = serde_json::to_value(verdict).ok();
    json.and_then(|name| name.as_str().map(|name| name.replace('-', " ")))
        .unwrap_or_default()
}

/// The verdict in words, and what was run.
pub(super) fn head(recording: &Recording, findings: &Findings, facts: &Facts) -> String {
    let manifest = &recording.manifest;
    let tiles = [
        ("connections", facts.connections.clone()),
        ("sessions", facts.sessions.clone()),
        ("events", facts.events.clone()),
        ("errors", whole(facts.errors)),
        ("length", length(super::series::seconds(recording))),
        (
            "own memory",
            facts.own.split(',').next().unwrap_or_default().to_owned(),
        ),
    ];
    let tiles: String = tiles
        .iter()
        .map(|(what, how_much)| {
            format!("<div><b>{}</b><span>{what}</span></div>", escaped(how_much))
        })
        .collect();
    let url = if manifest.target.url.is_empty() {
        "?"
    } else {
        &manifest.target.url
    };
    format!(
        "<a class=\"skip\" href=\"#plots\">To the plots</a>\n<div class=\"top\"><span class=\"soft\">sse-soak: {}, seed {}, {}</span><span id=\"theme\"></span></div>\n\
         {}<div class=\"tiles\">{tiles}</div>\n",
        foreign(&manifest.profile),
        manifest.seed,
        escaped(&manifest.started),
        verdict(
            findings,
            &format!("Target {} · {} · ", foreign(url), ended(recording))
        ),
    )
}

/// The verdict alone; `of` is HTML.
pub(super) fn verdict(findings: &Findings, of: &str) -> String {
    format!(
        "<div class=\"verdict {}\"><h1>{}</h1><p class=\"soft\">{of}exit code {}</p></div>\n",
        class(findings.verdict),
        escaped(&findings.text),
        findings.exit_code,
    )
}

fn ended(recording: &Recording) -> String {
    match &recording.manifest.ended {
        Some(ended) => escaped(&ended.text),
        None => "cut short, or still under way".into(),
    }
}

/// `1 h 04 min`, `52.6 s`.
fn length(seconds: f64) -> String {
    if seconds < 600.0 {
        return format!("{seconds:.1} s");
    }
    let minutes = (seconds / 60.0).round();
    format!("{} h {:02} min", (minutes / 60.0).floor(), minutes % 60.0)
}

/// Every finding with its numbers, and their intervals.
pub(super) fn evidence(findings: &Findings) -> String {
    let rows: Vec<Vec<String>> = findings.findings.iter().map(row).collect();
    let head = [
        "finding",
        "factor",
        "signal",
        "per unit",
        "95 % interval",
        "units",
        "in words",
    ];
    let mut out = format!(
        "<h2 id=\"evidence\">Evidence</h2>\n{}",
        table(
            "What was found, the heaviest first",
            &head,
            &[3, 4, 5],
            &rows
        )
    );
    let intervals: Vec<figure::Interval> = findings.findings.iter().filter_map(interval).collect();
    if !intervals.is_empty() {
        out.push_str(&format!(
            "<figure><figcaption>Bytes per unit of each factor, 95 % intervals, on an axis of square roots. A server that keeps nothing has all of them across 0.</figcaption>\n<div class=\"scroll\">{}</div></figure>\n",
            figure::intervals(&intervals)
        ));
    }
    out
}

fn row(finding: &Finding) -> Vec<String> {
    let interval = ends(finding).map_or_else(String::new, |(low, high)| {
        format!("{} … {}", amount(low), amount(high))
    });
    let each = finding.bytes_per_unit.map_or_else(String::new, |value| {
        format!("{} {}", amount(value), escaped(short_unit(&finding.unit)))
    });
    vec![
        format!(
            "<span class=\"tag {}\">{}</span>",
            class(finding.verdict),
            escaped(&name(finding.verdict))
        ),
        finding.factor.map_or("", |factor| factor.name()).into(),
        finding.signal.map_or("", |signal| signal.name()).into(),
        each,
        interval,
        finding.units.map_or_else(String::new, whole),
        escaped(&finding.text),
    ]
}

/// `B` of `bytes per connection`: the factor stands beside it.
fn short_unit(unit: &str) -> &str {
    match unit.split_once(' ') {
        _ if unit == "bytes per second and connection" => "B/s",
        Some(("bytes", _)) => "B",
        _ => unit,
    }
}

/// The ends of a finding's interval, if it has one.
fn ends(finding: &Finding) -> Option<(f64, f64)> {
    finding.low.zip(finding.high)
}

/// Bytes per unit of one factor; other units do not belong on the same axis.
fn interval(finding: &Finding) -> Option<figure::Interval> {
    let (low, high) = ends(finding)?;
    let judged = matches!(
        finding.verdict,
        Statement::Leak
            | Statement::NoLeak
            | Statement::Inconclusive
            | Statement::Saturating
            | Statement::ControlFound
            | Statement::ControlMissed
    );
    let memory = finding.signal.is_some_and(|signal| signal.is_memory());
    let estimate = finding.bytes_per_unit?;
    (judged && memory).then(|| figure::Interval {
        name: finding.factor.map_or("", |factor| factor.name()).into(),
        low,
        estimate,
        high,
        class: class(finding.verdict),
        told: format!("{} … {} B", amount(low), amount(high)),
    })
}

/// Where the script puts the plots over time, and their numbers.
pub(super) fn plots(phases: &[(f64, f64, String, i64)], summaries: &[Summary]) -> String {
    if summaries.is_empty() {
        return "<h2 id=\"plots\">Over time</h2>\n<p>Nothing was sampled, so there is nothing to plot.</p>\n".into();
    }
    let mut kinds: Vec<&str> = Vec::new();
    for (.., kind, _) in phases {
        if !kinds.contains(&kind.as_str()) {
            kinds.push(kind);
        }
    }
    let key: String = kinds
        .iter()
        .map(|kind| format!("<span><i data-phase=\"{0}\"></i>{0}</span>", escaped(kind)))
        .collect();
    let rows: Vec<Vec<String>> = summaries
        .iter()
        .map(|one| {
            let first = [
                one.panel.to_owned(),
                escaped(&one.label),
                format!("<code>{}</code>", escaped(&one.name)),
            ];
            let numbers = one.told.iter().map(|told| escaped(told));
            first
                .into_iter()
                .chain(numbers)
                .chain([whole(one.missing as f64)])
                .collect()
        })
        .collect();
    let head = [
        "plot", "line", "column", "first", "least", "median", "greatest", "last", "not read",
    ];
    format!(
        "<h2 id=\"plots-title\">Over time</h2>\n<div class=\"phases\">{key}</div>\n<div id=\"plots\"><p>The plots over time need a script; the numbers are in the table below.</p></div>\n{}",
        folded(
            "The plots as a table",
            &table("Every line in numbers", &head, &[3, 4, 5, 6, 7, 8], &rows)
        ),
    )
}

/// What is judged, in words.
fn subject(signal: Signal) -> &'static str {
    match signal {
        Signal::Allocated => "live memory",
        other => other.name(),
    }
}

/// What memory did against what was given, factor by factor, and what is left.
pub(super) fn responses(seen: &Responses) -> String {
    let figures: String = seen.factors.iter().map(response).collect();
    let rows: Vec<Vec<String>> = seen
        .residuals
        .iter()
        .enumerate()
        .map(|(row, (seconds, left))| {
            let each = seen.factors.iter().map(|one| {
                one.points
                    .get(row)
                    .map_or_else(String::new, |point| amount(point.0))
            });
            [amount(*seconds)]
                .into_iter()
                .chain(each)
                .chain([amount(*left)])
                .collect()
        })
        .collect();
    let mut head = vec!["seconds"];
    head.extend(
        seen.factors
            .iter()
            .filter_map(|one| one.finding.factor)
            .map(|factor| factor.name()),
    );
    head.push("bytes left");
    let numbers: Vec<usize> = (0..head.len()).collect();
    format!(
        "<h2 id=\"responses\">Dose and response</h2>\n<p>Each dot is one cycle: how much of a factor it gave, and what {} then did, with all other factors and the usual drift taken away. \
         The line is what was found per unit, the shade its 95 % interval.</p>\n<div class=\"figures\">{figures}</div>\n<h3>What no factor explains</h3>\n<div class=\"figures wide\">{}</div>\n{}",
        escaped(subject(seen.signal)),
        residuals(seen),
        folded(
            "Doses and residuals as a table",
            &table(
                "What each cycle gave, and what is left of the difference between readings",
                &head,
                &numbers,
                &rows
            )
        ),
    )
}

fn response(one: &Response) -> String {
    let finding = &one.finding;
    let factor = finding.factor.map_or("", |factor| factor.name());
    let unit = if finding.verdict == Statement::Zombie {
        "connection-seconds gone by"
    } else {
        "given in a cycle"
    };
    let most = one.points.iter().map(|point| point.0).fold(1.0, f64::max) * 1.04;
    let slope = finding.bytes_per_unit.unwrap_or(0.0);
    let ends = ends(finding);
    let band = ends
        .map_or([slope; 2], |(low, high)| [low, high])
        .map(|slope| slope * most);
    let seen = one.points.iter().map(|point| point.1).chain(band);
    let (low, high) = seen.fold((0.0, 0.0), |(low, high): (f64, f64), value| {
        (low.min(value), high.max(value))
    });
    let room = 0.05 * (high - low).max(1.0);
    let mut frame = Frame::new(
        400.0,
        230.0,
        (-0.02 * most, most),
        (low - room, high + room),
    );
    frame.axes(&format!("{factor}, {unit}"), &whole, &bytes, true);
    frame.fitted(slope, ends);
    frame.dots(&one.points);
    let told = ends.map_or_else(String::new, |(low, high)| {
        format!(" (95 %: {} … {})", amount(low), amount(high))
    });
    let caption = format!(
        "{} {} per unit{told}",
        amount(slope),
        short_unit(&finding.unit)
    );
    format!(
        "<figure>{}<figcaption><b>{}</b> <span class=\"tag {}\">{}</span> {}</figcaption></figure>\n",
        frame.svg(&format!("{factor}: {caption}; {} cycles", one.points.len())),
        escaped(factor),
        class(finding.verdict),
        escaped(&name(finding.verdict)),
        escaped(&caption),
    )
}

fn residuals(seen: &Responses) -> String {
    let mut sizes: Vec<f64> = seen.residuals.iter().map(|(_, left)| left.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let most = sizes.last().copied().unwrap_or(1.0).max(1.0) * 1.1;
    // Two thirds of normal noise lie within its standard deviation.
    let usual = sizes.get(sizes.len() * 683 / 1000).copied().unwrap_or(0.0);
    let last = seen.residuals.last().map_or(1.0, |point| point.0);
    let mut frame = Frame::new(1000.0, 220.0, (0.0, last * 1.01), (-most, most));
    frame.axes("seconds since the first reading", &whole, &bytes, true);
    frame.level(usual);
    frame.level(-usual);
    frame.dots(&seen.residuals);
    format!(
        "<figure><div class=\"scroll\">{}</div><figcaption>Residuals over time; dashed: the stretch that holds two thirds of them, ± {}. A trend or a wave here would be something that was not asked about.</figcaption></figure>\n",
        frame.svg("Residuals over time"),
        bytes(usual),
    )
}

/// Who was forgotten, and how soon.
pub(super) fn cleanup(recording: &Recording, facts: &Facts) -> String {
    if facts.cleanup.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = facts
        .cleanup
        .iter()
        .map(|count| {
            let lingering = count.lingering.map_or_else(|| "?".into(), whole);
            let marked = if count.is_left_behind() {
                format!("<b class=\"bad-text\">{lingering}</b>")
            } else {
                lingering
            };
            vec![
                escaped(&count.of),
                whole(count.left),
                marked,
                escaped(&times(count)),
            ]
        })
        .collect();
    let names: Vec<&str> = facts
        .cleanup
        .iter()
        .map(|count| count.of.as_str())
        .collect();
    format!(
        "<h2 id=\"cleanup\">Cleanup</h2>\n<p>Ways of leaving by the kernel's count, <i>connections</i> and <i>sessions</i> by the target's own.</p>\n{}{}",
        table(
            "What lingered when each cycle's drain ended",
            &["of", "left", "lingering", "gone after: p50, p99, max"],
            &[1, 2],
            &rows
        ),
        curves(&recording.cleanup, &names),
    )
}

/// The share of cycles that were clean after so long, a stair for each count.
fn curves(cleanup: &Table, names: &[&str]) -> String {
    let judged = |row: &usize| {
        cleanup
            .number("cycle", *row)
            .is_some_and(|cycle| cycle >= 0.0)
    };
    let of = |name: &str| -> (usize, Vec<f64>) {
        let rows: Vec<usize> = (0..cleanup.rows())
            .filter(judged)
            .filter(|row| cleanup.text("of", *row) == Some(name))
            .collect();
        let mut seconds: Vec<f64> = rows
            .iter()
            .filter_map(|row| cleanup.number("clean_s", *row))
            .collect();
        seconds.sort_by(f64::total_cmp);
        (rows.len(), seconds)
    };
    let all: Vec<(usize, Vec<f64>)> = names.iter().map(|name| of(name)).collect();
    let most = all
        .iter()
        .flat_map(|(_, seconds)| seconds)
        .fold(0.0, |most: f64, one| most.max(*one));
    let mut frame = Frame::new(1000.0, 220.0, (0.0, (most * 1.05).max(0.01)), (0.0, 1.05));
    let few = |seconds: f64| format!("{} s", amount(seconds));
    frame.axes(
        "seconds after the last client of a cycle had left",
        &few,
        &|share| format!("{:.0} %", 100.0 * share),
        false,
    );
    for (place, (cycles, seconds)) in all.iter().enumerate() {
        let share = |i: usize| (i + 1) as f64 / (*cycles).max(1) as f64;
        let points: Vec<(f64, f64)> = seconds
            .iter()
            .enumerate()
            .map(|(i, at)| (*at, share(i)))
            .collect();
        frame.steps(place, &points);
    }
    let key: String = names
        .iter()
        .enumerate()
        .map(|(place, name)| format!("<span><svg class=\"key\" viewBox=\"0 0 20 8\" aria-hidden=\"true\" width=\"20\" height=\"8\"><path class=\"steps s{}\" d=\"M0 4H20\"/></svg> {}</span>", place % 8, escaped(name)))
        .collect();
    format!(
        "<figure><div class=\"scroll\">{}</div><div class=\"phases\">{key}</div><figcaption>Time to clean: the share of cycles of which nobody was left after so long. A line that does not reach 100 % is what was not forgotten in time.</figcaption></figure>\n",
        frame.svg("Time to clean, the share of cycles that were clean after so long; the table above holds the numbers"),
    )
}

/// Sentences below a title, if there are any.
pub(super) fn list(title: &str, id: &str, sentences: &[String]) -> String {
    if sentences.is_empty() {
        return String::new();
    }
    let items: String = sentences
        .iter()
        .map(|sentence| format!("<li>{}</li>\n", foreign(sentence)))
        .collect();
    format!(
        "<h2 id=\"{id}\">{}</h2>\n<ul>\n{items}</ul>\n",
        escaped(title)
    )
}

/// Ourselves, and what of the recording could not be used.
pub(super) fn harness(recording: &Recording, facts: &Facts) -> String {
    let mut out = format!(
        "<h2 id=\"harness\">The harness</h2>\n<p>Own memory {}; {} samples lost, {} gaps.</p>\n",
        escaped(&facts.own),
        whole(facts.lost),
        facts.gaps
    );
    if !recording.complaints.is_empty() {
        let said: Vec<String> = recording
            .complaints
            .iter()
            .take(50)
            .map(|(file, complaint)| format!("{file}: {complaint}"))
            .collect();
        out.push_str(&list(
            "What could not be used of the recording",
            "complaints",
            &said,
        ));
    }
    out
}

/// What happened.
pub(super) fn events(events: &[(f64, String, String)]) -> String {
    if events.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = events
        .iter()
        .take(MOST_EVENTS)
        .map(|(at, kind, text)| vec![format!("{at:.1}"), escaped(kind), foreign(text)])
        .collect();
    let more = events.len().saturating_sub(MOST_EVENTS);
    let more = if more > 0 {
        format!("<p>{} more are in events.csv.</p>\n", whole(more as f64))
    } else {
        String::new()
    };
    format!(
        "<h2 id=\"events\">Events</h2>\n{}{more}",
        table(
            "What happened, beside the phases",
            &["at, s", "kind", "what"],
            &[0],
            &rows
        )
    )
}

/// What had to be taken for granted, and how it was done here.
pub(super) fn assumptions(recording: &Recording, findings: &Findings, facts: &Facts) -> String {
    let mut told: Vec<String> = Vec::new();
    for assumption in findings
        .findings
        .iter()
        .flat_map(|finding| &finding.assumptions)
    {
        if !told.contains(assumption) {
            told.push(assumption.clone());
        }
    }
    let tolerances = recording.manifest.plan.tolerances;
    told.push(format!(
        "tolerated: {} per connection, {} per session, {} per event",
        tolerances.connection, tolerances.session, tolerances.event
    ));
    list("What had to be taken for granted", "assumptions", &told)
        + &list("How it was done here", "notes", &facts.notes)
}

/// The command, and what it ran against.
pub(super) fn again(recording: &Recording) -> String {
    let manifest = &recording.manifest;
    let host = serde_json::to_string_pretty(&manifest.host).unwrap_or_default();
    let status = manifest
        .target
        .status
        .as_ref()
        .and_then(|status| serde_json::to_string_pretty(status).ok());
    let argv = manifest
        .target
        .argv
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ");
    let mut facts = format!("<h3>The machine</h3>\n<pre>{}</pre>\n", escaped(&host));
    if !argv.is_empty() {
        facts.push_str(&format!(
            "<h3>How the target was started</h3>\n<pre>{}</pre>\n",
            escaped(&argv)
        ));
    }
    if let Some(status) = status {
        facts.push_str(&format!(
            "<h3>What the target said of itself before the first client</h3>\n<pre>{}</pre>\n",
            escaped(&status)
        ));
    }
    let command = manifest
        .command
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ");
    format!(
        "<h2 id=\"again\">Run it again</h2>\n<pre>{}</pre>\n<p>Seed {}; profile <bdi>{}</bdi>, SHA-256 <code>{}</code>, kept as <code>profile.toml</code> beside this page. \
         <code>sse-soak report RUN --format html</code> makes this page again from the recording.</p>\n{}",
        escaped(&command),
        manifest.seed,
        escaped(&manifest.profile),
        escaped(&manifest.profile_sha256),
        folded("Machine and target", &facts),
    )
}

/// A word of a command line as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,@%+{}".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Who made the page.
pub(super) fn foot(recording: &Recording) -> String {
    format!(
        "<footer>Made by sse-soak {} from the recording alone. Sizes are in powers of 1024; times count from the start of the run, {}.</footer>",
        escaped(&recording.manifest.version),
        escaped(&recording.manifest.started)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        for (word, told) in [
            ("--seed", "--seed"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
            ("a b;c", "'a b;c'"),
        ] {
            assert_eq!(quoted(word), told);
        }
    }

    #[test]
    fn lengths_are_told_in_units_that_fit() {
        for (seconds, told) in [
            (52.636, "52.6 s"),
            (7440.0, "2 h 04 min"),
            (86_400.0, "24 h 00 min"),
        ] {
            assert_eq!(length(seconds), told);
        }
    }
}
