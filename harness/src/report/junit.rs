//! JUnit: one case per judged factor, so that a pipeline shows what failed beside its other tests.
//!
//! A case fails when anything that was found about its factor does, is an error when it cannot be told, and is skipped when the factor was
//! never given. What is about no factor is the case `run`; a step load has a case for every step.

use std::fmt::Write as _;

use crate::{
    diagnose::{
        compare::{Change, Changed, Comparison},
        compare_steps::{StepChange, StepsComparison},
        finding::{Finding, Findings, Statement},
        staircase::Stair,
    },
    record::Manifest,
};

/// How a case ended; the worst of its findings decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Skipped,
    Passed,
    Error,
    Failed,
}

struct Case {
    name: String,
    outcome: Outcome,
    /// What kind of failure.
    kind: &'static str,
    /// The sentence that decided.
    message: String,
    /// Everything that was said.
    said: Vec<String>,
}

/// A run.
pub(super) fn run(manifest: Option<&Manifest>, findings: &Findings) -> String {
    let mut cases: Vec<Case> = Vec::new();
    for finding in &findings.findings {
        let name = finding.factor.map_or("run", |factor| factor.name());
        add(&mut cases, name, finding);
    }
    cases.extend(findings.steps.iter().map(step));
    let suite = manifest.map_or("trace", |manifest| &manifest.profile);
    let started = manifest.map(|manifest| manifest.started.as_str());
    let seconds = manifest.and_then(|manifest| Some(manifest.ended.as_ref()?.t_s));
    suite_of(suite, started, seconds, &cases)
}

/// A comparison: a case per factor that fails when it got worse.
pub(super) fn comparison(comparison: &Comparison) -> String {
    let case = |changed: &Changed| Case {
        name: changed.factor.into(),
        outcome: self::changed(changed.change),
        kind: super::comparison::word(changed.change),
        message: changed.text.clone(),
        said: vec![changed.text.clone()],
    };
    let cases: Vec<Case> = comparison.factors.iter().map(case).collect();
    suite_of("comparison", None, None, &cases)
}

/// The same of two step loads: a case per step.
pub(super) fn steps_comparison(comparison: &StepsComparison) -> String {
    let case = |step: &StepChange| {
        let text = format!("mean response time {}", step.difference());
        Case {
            name: format!("{} users", step.users),
            outcome: changed(step.change),
            kind: super::comparison::word(step.change),
            message: text.clone(),
            said: vec![text],
        }
    };
    let cases: Vec<Case> = comparison.steps.iter().map(case).collect();
    suite_of("comparison", None, None, &cases)
}

const fn changed(change: Change) -> Outcome {
    match change {
        Change::Worse => Outcome::Failed,
        Change::CannotTell => Outcome::Error,
        Change::Better | Change::Fixed | Change::Same => Outcome::Passed,
    }
}

fn add(cases: &mut Vec<Case>, name: &str, finding: &Finding) {
    let (outcome, kind) = outcome(finding.verdict);
    let known = cases.iter().position(|case| case.name == name);
    let index = known.unwrap_or_else(|| {
        cases.push(Case {
            name: name.into(),
            outcome: Outcome::Skipped,
            kind,
            message: String::new(),
            said: Vec::new(),
        });
        cases.len() - 1
    });
    let case = &mut cases[index];
    if outcome > case.outcome || case.message.is_empty() {
        case.outcome = case.outcome.max(outcome);
        case.kind = kind;
        case.message.clone_from(&finding.text);
    }
    case.said.push(finding.text.clone());
}

const fn outcome(verdict: Statement) -> (Outcome, &'static str) {
    match verdict {
        Statement::TargetDied => (Outcome::Failed, "target-died"),
        Statement::Alarm => (Outcome::Failed, "alarm"),
        Statement::Zombie => (Outcome::Failed, "zombie"),
        Statement::Leak => (Outcome::Failed, "leak"),
        Statement::NotCleanedUp => (Outcome::Failed, "not-cleaned-up"),
        Statement::UnexplainedGrowth => (Outcome::Error, "unexplained-growth"),
        Statement::ControlMissed => (Outcome::Error, "control-missed"),
        Statement::Saturating => (Outcome::Error, "saturating"),
        Statement::Inconclusive => (Outcome::Error, "inconclusive"),
        Statement::NotDosed => (Outcome::Skipped, "not-dosed"),
        Statement::Inseparable => (Outcome::Skipped, "inseparable"),
        _ => (Outcome::Passed, "passed"),
    }
}

fn step(stair: &Stair) -> Case {
    let met: Vec<String> = stair.met.iter().map(ToString::to_string).collect();
    Case {
        name: format!("{} users", stair.users),
        outcome: if met.is_empty() {
            Outcome::Passed
        } else {
            Outcome::Failed
        },
        kind: "stop-condition",
        message: met.join("; "),
        said: met,
    }
}

fn suite_of(name: &str, started: Option<&str>, seconds: Option<f64>, cases: &[Case]) -> String {
    let count = |outcome| cases.iter().filter(|case| case.outcome == outcome).count();
    let time = seconds.map_or_else(String::new, |seconds| format!(" time=\"{seconds:.3}\""));
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"{time}",
        cases.len(),
        count(Outcome::Failed),
        count(Outcome::Error),
        count(Outcome::Skipped),
    );
    let stamp = started.map_or_else(String::new, |at| format!(" timestamp=\"{}\"", escaped(at)));
    let name = escaped(name);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  <testsuite name=\"sse-soak.{name}\" {counts}{stamp}>\n"
    );
    for case in cases {
        write_case(&mut out, &name, case);
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn write_case(out: &mut String, suite: &str, case: &Case) {
    let mut push = |text: String| out.push_str(&text);
    push(format!(
        "    <testcase classname=\"sse-soak.{suite}\" name=\"{}\">\n",
        escaped(&case.name)
    ));
    let (kind, message) = (case.kind, escaped(&case.message));
    match case.outcome {
        Outcome::Failed => push(format!(
            "      <failure type=\"{kind}\" message=\"{message}\"/>\n"
        )),
        Outcome::Error => push(format!(
            "      <error type=\"{kind}\" message=\"{message}\"/>\n"
        )),
        Outcome::Skipped => push(format!("      <skipped message=\"{message}\"/>\n")),
        Outcome::Passed => {}
    }
    if !case.said.is_empty() {
        push(format!(
            "      <system-out>{}</system-out>\n",
            escaped(&case.said.join("\n"))
        ));
    }
    push("    </testcase>\n".into());
}

/// Text of others must neither become markup nor break the document: XML 1.0 knows no control characters but three.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => {
                write!(out, "&#{};", u32::from(letter)).expect("a string takes everything")
            }
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Factor, Leave};

    fn about(verdict: Statement, factor: Option<Factor>, text: &str) -> Finding {
        Finding {
            factor,
            ..Finding::plain(verdict, text)
        }
    }

    #[test]
    fn every_judged_factor_is_one_case_and_its_worst_finding_decides() {
        let findings = Findings::new(vec![
            about(Statement::Leak, Some(Factor::Session), "619 B per session"),
            about(Statement::NotCleanedUp, Some(Factor::Session), "kept"),
            about(
                Statement::NoLeak,
                Some(Factor::Closed(Leave::Fin)),
                "fin ok",
            ),
            about(Statement::Inconclusive, Some(Factor::Event), "too short"),
            about(Statement::NotDosed, Some(Factor::Turn), "never"),
            about(Statement::ControlFound, None, "found"),
        ]);
        let xml = run(None, &findings);
        assert!(
            xml.contains("tests=\"5\" failures=\"1\" errors=\"1\" skipped=\"1\""),
            "{xml}"
        );
        assert!(
            xml.contains(
                "name=\"session\">\n      <failure type=\"leak\" message=\"619 B per session\"/>"
            ),
            "{xml}"
        );
        assert!(xml.contains("name=\"turn\">\n      <skipped"), "{xml}");
        assert_eq!(xml.matches("<testcase").count(), 5);
    }

    #[test]
    fn what_others_say_stays_text() {
        let text = "</script> \"x\" & \u{1b}[31m\u{202e}\n";
        let xml = run(
            None,
            &Findings::new(vec![about(Statement::Leak, None, text)]),
        );
        assert!(
            xml.contains("&lt;/script&gt; &quot;x&quot; &amp; \u{fffd}[31m\u{202e}&#10;"),
            "{xml}"
        );
    }
}
