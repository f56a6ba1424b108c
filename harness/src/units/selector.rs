//! Which number of a metrics endpoint is meant, as a person writes it.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// `/sessions/live` of JSON, or `sum(chat_sessions{state!='closed'})` of Prometheus and OpenMetrics text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A JSON pointer (RFC 6901) to a number.
    Pointer(String),
    /// Series of a text exposition, and what is made of their values.
    Series(SeriesSelector),
}

/// Series by name and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesSelector {
    /// What is made of several values; `None`: exactly one series must match.
    pub fold: Option<Fold>,
    /// The name of the metric.
    pub name: String,
    /// What its labels must be; a label that a series lacks is empty.
    pub labels: Vec<LabelMatch>,
}

/// What is made of several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// How many there are.
    Count,
}

/// `state!='closed'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMatch {
    /// The label.
    pub label: String,
    /// Whether it must be this value, or anything else.
    pub equal: bool,
    /// The value.
    pub value: String,
}

impl Fold {
    const ALL: [(&'static str, Self); 4] = [
        ("sum", Self::Sum),
        ("max", Self::Max),
        ("min", Self::Min),
        ("count", Self::Count),
    ];
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with('/') {
            return Ok(Self::Pointer(text.into()));
        }
        series(text).map(Self::Series).ok_or_else(|| {
            format!(
                "`{text}` names no number: write a metric (`chat_sessions`), a sum, max, min or count of its series \
                 (`sum(chat_sessions{{state!='closed'}})`), or a JSON pointer (`/sessions/live`)"
            )
        })
    }
}

fn series(text: &str) -> Option<SeriesSelector> {
    let folded = Fold::ALL.iter().find_map(|(name, fold)| {
        let inner = text.strip_prefix(name)?.trim_start().strip_prefix('(')?;
        Some((*fold, inner.strip_suffix(')')?.trim()))
    });
    let (fold, text) = match folded {
        Some((fold, inner)) => (Some(fold), inner),
        None => (None, text),
    };
    let (name, labels) = match text.split_once('{') {
        Some((name, rest)) => (name.trim(), label_matches(rest.strip_suffix('}')?)?),
        None => (text, Vec::new()),
    };
    is_metric_name(name).then(|| SeriesSelector {
        fold,
        name: name.into(),
        labels,
    })
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`.
fn is_metric_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn label_matches(mut text: &str) -> Option<Vec<LabelMatch>> {
    let mut all = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Some(all);
        }
        let end = text.find(['=', '!'])?;
        let (label, rest) = text.split_at(end);
        let (equal, rest) = match rest.strip_prefix("!=") {
            Some(rest) => (false, rest),
            None => (true, rest.strip_prefix('=')?),
        };
        let rest = rest.trim_start();
        let quote = rest.chars().next().filter(|c| ['\'', '"'].contains(c))?;
        let (value, rest) = rest.get(1..)?.split_once(quote)?;
        let label = label.trim();
        if !is_metric_name(label) || label.contains(':') {
            return None;
        }
        all.push(LabelMatch {
            label: label.into(),
            equal,
            value: value.into(),
        });
        let rest = rest.trim_start();
        text = match rest.strip_prefix(',') {
            Some(more) => more,
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let series = match self {
            Self::Pointer(pointer) => return f.write_str(pointer),
            Self::Series(series) => series,
        };
        let fold = Fold::ALL
            .iter()
            .find(|(_, fold)| Some(*fold) == series.fold);
        let labels: Vec<String> = series
            .labels
            .iter()
            .map(|one| {
                let sign = if one.equal { "=" } else { "!=" };
                format!("{}{sign}'{}'", one.label, one.value)
            })
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        match fold {
            Some((fold, _)) => write!(f, "{fold}({}{labels})", series.name),
            None => write!(f, "{}{labels}", series.name),
        }
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_read_and_shown_as_it_was_written() {
        for text in [
            "/sessions/live",
            "chat_sessions",
            "chat_sessions{state='idle'}",
            "sum(chat_sessions{state!='closed',worker='1'})",
            "count(process_open_fds)",
            "summary_of_things",
        ] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        }
        let spaced = " sum( chat_sessions { state != \"closed\" , } ) ";
        let shown = Selector::parse(spaced).unwrap().to_string();
        assert_eq!(shown, "sum(chat_sessions{state!='closed'})");
    }

    #[test]
    fn what_names_no_number_is_refused_with_what_is_allowed() {
        for text in [
            "",
            "sessions live",
            "avg(x)",
            "sum(x",
            "x{state}",
            "x{state=idle}",
            "x{state='a' b='c'}",
            "1x",
            "x{state=~'a'}",
        ] {
            let complaint = Selector::parse(text).unwrap_err();
            assert!(complaint.contains("JSON pointer"), "{text}: {complaint}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            drop(Selector::parse(&text));
            drop(Selector::parse(&format!("sum(x{{{text}}})")));
        }
    }
}
