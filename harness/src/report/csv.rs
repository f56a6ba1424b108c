//! Findings as CSV: a line a finding, what is not known empty. A stable format: columns are added at the end, never renamed.

use crate::diagnose::{
    compare::Comparison,
    finding::{Finding, Findings},
};

pub(super) fn findings(findings: &Findings) -> String {
    let head = [
        "verdict",
        "factor",
        "signal",
        "bytes_per_unit",
        "se",
        "dof",
        "low",
        "high",
        "upper_95",
        "units",
        "unit",
        "text",
    ];
    table(
        &head,
        findings
            .findings
            .iter()
            .map(|finding| row(finding).to_vec()),
    )
}

pub(super) fn comparison(comparison: &Comparison) -> String {
    let head = [
        "factor",
        "before",
        "after",
        "difference",
        "low",
        "high",
        "change",
    ];
    let rows = comparison.factors.iter().map(|changed| {
        let numbers = [
            changed.before,
            changed.after,
            changed.difference,
            changed.low,
            changed.high,
        ];
        let numbers = numbers.map(|value| number(Some(value)));
        let [before, after, difference, low, high] = numbers;
        let word = super::comparison::word(changed.change).to_owned();
        vec![
            changed.factor.into(),
            before,
            after,
            difference,
            low,
            high,
            word,
        ]
    });
    table(&head, rows)
}

fn row(finding: &Finding) -> [String; 12] {
    let name = serde_json::to_value(finding.verdict).ok();
    let name = name.and_then(|name| name.as_str().map(String::from));
    [
        name.unwrap_or_default(),
        finding.factor.map_or("", |factor| factor.name()).into(),
        finding.signal.map_or("", |signal| signal.name()).into(),
        number(finding.bytes_per_unit),
        number(finding.se),
        number(finding.dof),
        number(finding.low),
        number(finding.high),
        number(finding.upper_95),
        number(finding.units),
        finding.unit.clone(),
        finding.text.clone(),
    ]
}

fn number(value: Option<f64>) -> String {
    let known = value.filter(|value| value.is_finite());
    known.map_or_else(String::new, |value| value.to_string())
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head).expect("memory takes everything");
    for row in rows {
        writer.write_record(&row).expect("memory takes everything");
    }
    let bytes = writer.into_inner().expect("memory takes everything");
    String::from_utf8(bytes).expect("only text was written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnose::finding::Statement, units::Factor};

    #[test]
    fn what_is_not_known_is_empty_and_text_is_quoted() {
        let mut finding = Finding::plain(Statement::Leak, "619 B, \"per\" session");
        finding.factor = Some(Factor::Session);
        finding.bytes_per_unit = Some(619.5);
        let text = super::findings(&Findings::new(vec![finding]));
        let line = text.lines().nth(1).unwrap();
        assert_eq!(
            line,
            "leak,session,,619.5,,,,,,,,\"619 B, \"\"per\"\" session\""
        );
    }
}
