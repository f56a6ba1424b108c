//! What people and scripts are told.

use super::*;
use crate::diagnose::{
    counters::Counter,
    envelope::Envelope,
    observations::Kind,
    rests::Rest,
    signal::Signal,
    synthetic::{EARLY, FIN, RST, Shape, Synthetic, quick, reference, rested},
    verdict::{Evidence, Memory, Rules, judge},
};

fn evidence(signal: Signal, recording: &Synthetic) -> Evidence {
    let rows = recording.observe();
    Evidence {
        memory: vec![Memory { signal, rows }],
        ..Evidence::default()
    }
}

fn told(evidence: &Evidence) -> Findings {
    let rules = Rules::default();
    findings(evidence, &judge(evidence, &rules), &rules)
}

fn all(found: &Findings, verdict: Statement) -> Vec<&Finding> {
    found
        .findings
        .iter()
        .filter(|f| f.verdict == verdict)
        .collect()
}

#[test]
fn a_leak_names_its_unit_its_interval_and_what_was_delivered() {
    let found = told(&evidence(
        Signal::Allocated,
        &quick(1).leaks(Factor::Session, 2816.0).noise(300.0),
    ));
    assert_eq!((found.verdict, found.exit_code), (Statement::Leak, 10));
    assert!(found.text.starts_with("LEAK  2,8"), "{}", found.text);
    let [leak] = all(&found, Statement::Leak)[..] else {
        panic!("{found:#?}");
    };
    assert_eq!(
        (leak.factor, leak.signal),
        (Some(Factor::Session), Some(Signal::Allocated))
    );
    assert_eq!(leak.unit, "bytes per session");
    assert!(
        leak.low.unwrap() < 2816.0 && leak.high.unwrap() > 2816.0,
        "{leak:?}"
    );
    assert!(leak.units.unwrap() > 700.0);
    let about_it = found.findings.iter().filter(|f| f.factor == leak.factor);
    assert_eq!(about_it.count(), 1, "guilty and nothing else: {found:#?}");
    assert!(leak.text.contains("per session (95 %: 2,"), "{}", leak.text);
}

#[test]
fn a_clean_server_is_told_how_clean() {
    let found = told(&evidence(Signal::Allocated, &quick(1)));
    assert_eq!((found.verdict, found.exit_code), (Statement::NoLeak, 0));
    assert_eq!(
        found.text,
        "NO LEAK above 13 B per connection, 8.6 B per session, 8.6 B per turn, 0.2 B per event (95 %)"
    );
    assert_eq!(all(&found, Statement::NoLeak).len(), 9);
    assert_eq!(all(&found, Statement::ControlFound).len(), 1);
}

#[test]
fn a_judge_that_misses_its_control_acquits_nobody() {
    let mut evidence = evidence(Signal::Allocated, &quick(1));
    evidence.memory[0].rows.control.as_mut().unwrap().bytes_each = 4096.0;
    let found = told(&evidence);
    assert_eq!(
        (found.verdict, found.exit_code),
        (Statement::Inconclusive, 12)
    );
    assert!(found.text.contains("missed"), "{}", found.text);
}

#[test]
fn a_control_within_a_twentieth_of_its_size_is_found_wherever_its_interval_ends() {
    let evidence = evidence(Signal::Allocated, &quick(1));
    for (share, statement) in [
        (0.96, Statement::ControlFound),
        (1.04, Statement::ControlFound),
        (0.9, Statement::ControlMissed),
    ] {
        let mut evidence = evidence.clone();
        let control = evidence.memory[0].rows.control.as_mut().unwrap();
        control.bytes_each *= share;
        assert_eq!(all(&told(&evidence), statement).len(), 1, "{share}");
    }
}

#[test]
fn a_factor_never_given_is_neither_clean_nor_guilty() {
    let found = told(&evidence(Signal::Allocated, &quick(1).never_gives(EARLY)));
    let [idle] = all(&found, Statement::NotDosed)[..] else {
        panic!("{found:#?}");
    };
    assert_eq!((idle.factor, idle.upper_95), (Some(EARLY), None));
    assert!(
        all(&found, Statement::NoLeak)
            .iter()
            .all(|f| f.factor != Some(EARLY))
    );
}

#[test]
fn noise_above_the_tolerance_is_inconclusive_and_says_how_long_it_would_take() {
    let found = told(&evidence(Signal::Rss, &reference(1).noise(400_000.0)));
    assert_eq!(
        (found.verdict, found.exit_code),
        (Statement::Inconclusive, 12)
    );
    assert!(
        found.findings[0].text.contains("more minutes would decide"),
        "{}",
        found.findings[0].text
    );
    let hidden = told(&evidence(Signal::Rss, &reference(1).retains(0.9)));
    assert!(
        hidden.findings[0]
            .text
            .contains("read allocator statistics"),
        "{}",
        hidden.findings[0].text
    );
}

#[test]
fn resident_memory_that_the_allocator_does_not_count_is_retention() {
    let mut evidence = evidence(Signal::Allocated, &quick(1));
    let rows = quick(1).leaks(FIN, 20_000.0).observe();
    evidence.memory.push(Memory {
        signal: Signal::Rss,
        rows,
    });
    evidence.envelope = Some(Envelope {
        least: (0..25).map(|i| 60e6 + 4e6 * f64::from(i)).collect(),
        closed: (0..25).map(|i| 300.0 * f64::from(i)).collect(),
        last_rest: None,
    });
    let found = told(&evidence);
    assert_eq!(
        (found.verdict, found.exit_code),
        (Statement::NoLeak, 0),
        "{found:#?}"
    );
    assert_eq!(all(&found, Statement::Retention).len(), 2, "{found:#?}");
    evidence.memory.remove(0); // and without the allocator's word it is a leak
    assert_eq!(told(&evidence).exit_code, 10);
}

#[test]
fn growth_while_nobody_is_there_is_told_but_no_factor_is_named() {
    let mut evidence = evidence(Signal::Allocated, &quick(1).does(Shape::Drip(200.0)));
    let rest = |closed: f64| Rest {
        closed,
        seconds: 8.0,
        heap_growth: Some(200.0),
        ..Rest::default()
    };
    evidence.rests = vec![rest(0.0), rest(900.0), rest(4000.0), rest(8000.0)];
    let found = told(&evidence);
    assert_eq!(
        (found.verdict, found.exit_code),
        (Statement::UnexplainedGrowth, 12)
    );
    assert_eq!(found.findings[0].factor, Some(Factor::Time));
    assert!(found.text.contains("200 B per second"), "{}", found.text);
}

#[test]
fn a_zombie_is_told_once_and_explains_what_it_ate() {
    let server = rested(quick(1).cycles(28)).eats(Factor::Left, 256.0);
    let waiting = server.jitters(0.002).waiting();
    let mut rows = waiting.rows.clone();
    for (_, end) in &waiting.rests {
        rows.readings[*end] = f64::NAN;
    }
    let rows = rows.without_gaps().0;
    let rest = |closed: f64| Rest {
        closed,
        seconds: 10.0,
        cpu: Some(0.01 + closed * 1e-4),
        ..Rest::default()
    };
    let found = told(&Evidence {
        envelope: Some(Envelope {
            least: rows.readings.clone(),
            closed: vec![0.0; rows.readings.len()],
            last_rest: None,
        }),
        memory: vec![Memory {
            signal: Signal::Allocated,
            rows,
        }],
        rests: [0.0, 1700.0, 3300.0, 4500.0].map(rest).to_vec(),
        waiting: Some(waiting),
        ..Evidence::default()
    });
    let [zombie] = all(&found, Statement::Zombie)[..] else {
        panic!("{found:#?}");
    };
    assert_eq!(zombie.factor, Some(Factor::Left));
    let sentence = "every connection that the client leaves goes on eating 256 B per second after it has closed";
    assert!(zombie.text.starts_with(sentence), "{}", zombie.text);
    assert!(zombie.text.contains("CPU agrees"), "{}", zombie.text);
    for told_twice in [
        Statement::UnexplainedGrowth,
        Statement::Inconclusive,
        Statement::ControlMissed,
    ] {
        assert_eq!(all(&found, told_twice), Vec::<&Finding>::new());
    }
    assert_eq!(all(&found, Statement::NoLeak).len(), 4);
}

#[test]
fn a_descriptor_kept_per_connection_is_a_leak_whatever_memory_says() {
    let mut evidence = evidence(Signal::Allocated, &quick(1));
    let rows = &evidence.memory[0].rows;
    let kept = rows.doses.iter().find(|d| d.factor == RST).unwrap();
    let readings = kept.total.iter().map(|n| 40.0 + n).collect();
    let rows = rows.counting(readings, Signal::Descriptors.floor());
    evidence.counters.push(Counter {
        signal: Signal::Descriptors,
        rows,
    });
    let found = told(&evidence);
    let [leak] = all(&found, Statement::Leak)[..] else {
        panic!("{found:#?}");
    };
    assert_eq!(
        (leak.factor, leak.unit.as_str()),
        (Some(RST), "descriptors per connection")
    );
    assert!(
        found
            .text
            .starts_with("LEAK  1 descriptors per connection closed with RST"),
        "{}",
        found.text
    );
}

#[test]
fn the_heaviest_finding_decides_the_exit_code_and_silence_is_no_clean_bill() {
    let code = |list: &[Statement]| {
        Findings::new(list.iter().map(|s| Finding::plain(*s, "")).collect()).exit_code
    };
    use Statement as S;
    for (list, wanted) in [
        (&[][..], 12),
        (&[S::NoLeak], 0),
        (&[S::NoLeak, S::Retention, S::ControlFound], 0),
        (&[S::NotDosed], 12),
        (&[S::NoLeak, S::Inconclusive], 12),
        (&[S::NoLeak, S::Saturating], 12),
        (&[S::NotCleanedUp, S::NoLeak], 11),
        (&[S::NotCleanedUp, S::Leak], 10),
        (&[S::Alarm, S::Inconclusive], 13),
        (&[S::Zombie], 10),
        (&[S::TargetDied, S::Leak], 20),
    ] {
        assert_eq!(code(list), wanted, "{list:?}");
    }
}

#[test]
fn findings_survive_the_way_to_the_file_and_back() {
    let found = told(&evidence(Signal::Allocated, &quick(1).leaks(RST, 64.0)));
    let text = serde_json::to_string(&found).unwrap();
    assert!(
        text.contains(r#""verdict":"leak""#) && text.contains(r#""factor":"rst""#),
        "{text}"
    );
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    let back: Findings = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (back.verdict, back.findings.len()),
        (found.verdict, found.findings.len())
    );
}

#[test]
fn a_soak_too_short_for_a_look_says_so() {
    let mut evidence = evidence(Signal::Allocated, &quick(1));
    evidence.memory[0].rows.kind = Kind::Soak;
    let found = told(&evidence);
    assert_eq!(
        found.text,
        "INCONCLUSIVE  not enough readings for a first look"
    );
}
