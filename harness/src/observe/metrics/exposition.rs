//! The text of a metrics endpoint: Prometheus 0.0.4 and OpenMetrics 1.0. Strict: what is not understood is said with its line.
//!
//! Only what is asked for is kept: an exposition may have a hundred thousand series, and we read it once a second.

use crate::units::{Fold, SeriesSelector};

/// One series and its value.
#[derive(Debug, PartialEq)]
struct Series<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

/// Why a text is no exposition.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no metric: `{found}`")]
pub(super) struct Malformed {
    line: usize,
    found: String,
}

/// Why a selector found nothing in an exposition.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Missing {
    /// No metric has this name.
    #[error("no metric is named `{name}`{}", like(names))]
    Name {
        name: String,
        /// Names that are there and look alike.
        names: Vec<String>,
    },
    /// The metric is there, the labels are not.
    #[error("`{name}` is there, but none of its {series} series has these labels")]
    Labels { name: String, series: usize },
    /// More than one series where one is meant.
    #[error(
        "{matches} series of `{name}` match: say which by labels, or take sum(…), max(…), min(…), count(…)"
    )]
    Several { name: String, matches: usize },
    /// The value is not a number that can be counted with.
    #[error("the value of `{name}` is {value}")]
    NotFinite { name: String, value: String },
}

fn like(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("; there are {}", quoted.join(", "))
}

/// What each selector finds; outer errors are the text's, inner ones the selector's.
pub(super) fn select(
    text: &str,
    selectors: &[&SeriesSelector],
) -> Result<Vec<Result<f64, Missing>>, Malformed> {
    let mut found: Vec<Found> = selectors.iter().map(|_| Found::default()).collect();
    let mut ended = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        let malformed = || Malformed {
            line: index + 1,
            found: crate::target::proc::shortened(line),
        };
        if ended {
            return Err(malformed()); // nothing comes after `# EOF`
        }
        if line == "# EOF" {
            ended = true;
            continue;
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let series = series(line).ok_or_else(malformed)?;
        for (selector, found) in selectors.iter().zip(&mut found) {
            found.take(selector, &series);
        }
    }
    let told = selectors.iter().zip(found);
    Ok(told.map(|(selector, found)| found.told(selector)).collect())
}

/// What one selector has found so far.
#[derive(Default)]
struct Found {
    of_name: usize,
    values: Vec<f64>,
    others: Vec<String>,
}

/// Names that are offered when one is gone.
const MOST_OTHERS: usize = 8;

impl Found {
    fn take(&mut self, selector: &SeriesSelector, series: &Series<'_>) {
        if series.name != selector.name {
            let is_known = self.others.iter().any(|known| known == series.name);
            if self.others.len() < MOST_OTHERS && !is_known {
                self.others.push(series.name.into());
            }
            return;
        }
        self.of_name += 1;
        if selector.labels.iter().all(|wanted| {
            let of_label = series.labels.iter().find(|(name, _)| *name == wanted.label);
            let value = of_label.map_or("", |(_, value)| value);
            (value == wanted.value) == wanted.equal
        }) {
            self.values.push(series.value);
        }
    }

    fn told(self, selector: &SeriesSelector) -> Result<f64, Missing> {
        let name = selector.name.clone();
        if self.of_name == 0 {
            return Err(Missing::Name {
                name,
                names: self.others,
            });
        }
        let values = self.values;
        let value = match (selector.fold, values.as_slice()) {
            // A sum over no series that are left is none: what is counted may have gone with its label. The name is there.
            (Some(Fold::Sum), values) => values.iter().sum(),
            (Some(Fold::Count), values) => values.len() as f64,
            (_, []) => {
                return Err(Missing::Labels {
                    name,
                    series: self.of_name,
                });
            }
            (Some(Fold::Max), values) => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            (Some(Fold::Min), values) => values.iter().copied().fold(f64::INFINITY, f64::min),
            (None, [one]) => *one,
            (None, several) => {
                return Err(Missing::Several {
                    name,
                    matches: several.len(),
                });
            }
        };
        if value.is_finite() {
            Ok(value)
        } else {
            let value = value.to_string();
            Err(Missing::NotFinite { name, value })
        }
    }
}

/// `name{label="value",…} value [timestamp] [# exemplar]`.
fn series(line: &str) -> Option<Series<'_>> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_start_matches([' ', '\t']);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let rest = rest.split_once(" # ").map_or(rest, |(before, _)| before); // an exemplar
    let mut words = rest.split_ascii_whitespace();
    let value = number(words.next()?)?;
    if let Some(timestamp) = words.next() {
        number(timestamp)?;
    }
    words.next().is_none().then_some(Series {
        name,
        labels,
        value,
    })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((all, rest));
        }
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start().strip_prefix('"')?;
        let (value, after) = quoted(after)?;
        all.push((name.trim(), value));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more,
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

/// A value up to its closing quote, with `\\`, `\"` and `\n` undone.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                same @ ('\\' | '"') => value.push(same),
                _ => return None,
            },
            other => value.push(other),
        }
    }
    None
}

/// A number as Go writes it.
fn number(word: &str) -> Option<f64> {
    match word {
        "+Inf" | "Inf" | "inf" => Some(f64::INFINITY),
        "-Inf" | "-inf" => Some(f64::NEG_INFINITY),
        "NaN" | "nan" => Some(f64::NAN),
        word if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
            word.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Selector;

    const TEXT: &str = r#"# HELP chat_sessions Conversations in memory.
# TYPE chat_sessions gauge
chat_sessions{state="streaming",worker="1"} 3
chat_sessions{state="idle",worker="1"} 4.0
chat_sessions{state="closed",worker="1"} 9e2
chat_odd{path="C:\\x, \"y\" {z}\n",} +1 1700000000
chat_latency_bucket{le="+Inf"} 17 # {trace_id="a"} 0.5
process_nan NaN
up 1
# EOF
"#;

    fn told(text: &str, selector: &str) -> Result<f64, String> {
        let Ok(Selector::Series(selector)) = Selector::parse(selector) else {
            panic!("`{selector}` is no selector of series")
        };
        let mut found = select(text, &[&selector]).map_err(|error| error.to_string())?;
        found.remove(0).map_err(|error| error.to_string())
    }

    #[test]
    fn series_are_found_by_name_and_labels() {
        for (selector, value) in [
            ("up", 1.0),
            ("sum(chat_sessions{state!='closed'})", 7.0),
            ("sum(chat_sessions)", 907.0),
            ("max(chat_sessions)", 900.0),
            ("min(chat_sessions{worker='1'})", 3.0),
            ("count(chat_sessions)", 3.0),
            ("chat_sessions{state='idle'}", 4.0),
            ("chat_odd{missing=''}", 1.0),
            ("chat_latency_bucket", 17.0),
            ("sum(chat_sessions{worker='2'})", 0.0),
        ] {
            assert_eq!(told(TEXT, selector), Ok(value), "{selector}");
        }
    }

    #[test]
    fn a_number_that_is_gone_is_missed_aloud() {
        for (selector, complaint) in [
            (
                "sessions",
                "no metric is named `sessions`; there are `chat_sessions`, `chat_odd`, `chat_latency_bucket`, `process_nan`, `up`",
            ),
            (
                "chat_sessions{worker='2'}",
                "`chat_sessions` is there, but none of its 3 series has these labels",
            ),
            (
                "chat_sessions",
                "3 series of `chat_sessions` match: say which by labels, or take sum(…), max(…), min(…), count(…)",
            ),
            ("process_nan", "the value of `process_nan` is NaN"),
        ] {
            assert_eq!(told(TEXT, selector), Err(complaint.into()), "{selector}");
        }
    }

    #[test]
    fn a_text_that_is_no_exposition_is_refused_with_its_line() {
        for (text, complaint) in [
            ("up 1\n<html>\n", "line 2 is no metric: `<html>`"),
            ("up one\n", "line 1 is no metric: `up one`"),
            ("up 1 2 3\n", "line 1 is no metric: `up 1 2 3`"),
            ("up{a=\"b} 1\n", "line 1 is no metric: `up{a=\"b} 1`"),
            ("up{a=b} 1\n", "line 1 is no metric: `up{a=b} 1`"),
            ("# EOF\nup 1\n", "line 2 is no metric: `up 1`"),
        ] {
            assert_eq!(told(text, "up"), Err(complaint.into()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            drop(told(&text, "up"));
            drop(told(&format!("up{{a=\"{text}\"}} 1\nup{text}"), "sum(up)"));
        }
    }
}
