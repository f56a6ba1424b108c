use std::collections::BTreeMap;

use super::{
    planner::{plan, signal},
    *,
};
use crate::{
    diagnose::{signal::Signal, verdict::Tolerance},
    profile::{Kind, Profile},
    record::PilotFacts,
};

/// Ten seconds of pilot, a second and a half a cycle, on an allocator's account that is read to so many bytes.
fn pilot(noise_bytes: f64) -> PilotFacts {
    let units = [
        ("fin", 100.0),
        ("rst", 100.0),
        ("session", 100.0),
        ("event", 4000.0),
    ];
    PilotFacts {
        cycles: PILOT,
        cycle_s: 1.5,
        ended_s: 20.0,
        signal: Signal::Allocated.name().into(),
        noise_bytes,
        units: units
            .map(|(name, many)| (name.to_owned(), many))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        open_at_once: 40.0,
        cpu_share: Some(0.1),
        ..PilotFacts::default()
    }
}

fn ask(pilot: &PilotFacts, within_s: f64, bytes: f64) -> Ask {
    let text = include_str!("../../../../soak-profiles/quick.toml").to_owned();
    let profile = Profile::parse("quick", "quick.toml", text).unwrap();
    let Kind::Assay(assay) = &profile.run else {
        panic!("quick is an assay")
    };
    let tolerance = Tolerance {
        connection: bytes,
        session: bytes,
        turn: bytes,
        event: bytes,
    };
    Ask::of(assay, pilot, within_s, tolerance)
}

fn planned(noise: f64, within_s: f64, bytes: f64) -> Prospect {
    let pilot = pilot(noise);
    plan(&pilot, &ask(&pilot, within_s, bytes))
}

#[test]
fn a_quiet_server_is_looked_at_once() {
    let found = planned(128.0, 600.0, 64.0);
    assert_eq!((found.doses, found.planned), (1, FIRST_LOOK));
    for shown in &found.shown {
        assert!(shown.in_time < 10.0, "{shown:?}");
    }
}

#[test]
fn noise_takes_cycles_then_larger_doses_then_all_the_time_there_is() {
    let plans = [128.0, 6_000.0, 60_000.0, 600_000.0].map(|noise| planned(noise, 600.0, 64.0));
    let told: Vec<(u32, bool)> = plans
        .iter()
        .map(|p| (p.doses, p.shown.iter().all(|s| s.needed.is_some())))
        .collect();
    assert_eq!(
        told.iter().map(|t| t.0).collect::<Vec<_>>(),
        [1, 1, 4, 4],
        "{plans:#?}"
    );
    assert!(
        plans.windows(2).all(|two| two[0].planned <= two[1].planned),
        "{plans:#?}"
    );
    let most = ask(&pilot(1.0), 600.0, 64.0).most_cycles;
    assert!((350..390).contains(&most), "{most}");
    assert_eq!(
        plans[3].planned, most,
        "what does not fit takes all there is"
    );
}

#[test]
fn the_plan_is_that_of_the_method() {
    // The method, §3.4: MDE80 = (t(1 - alpha/10; n - 2) + 0.84) sigma / (300 sqrt(2/9) sqrt(n)); for n = 10 about sigma / 46, less the floor.
    let mut pilot = pilot(23.0 * 1024.0);
    pilot.units = BTreeMap::from([("rst".to_owned(), 300.0)]);
    pilot.signal = Signal::Rss.name().into();
    let mut ask = ask(&pilot, 600.0, 64.0);
    ask.most_cycles = 10;
    let shown = plan(&pilot, &ask).shown[0].in_time - 4096.0 / 300.0;
    let simulated = 23.0 * 1024.0 / 46.0;
    assert!(
        (0.5..2.0).contains(&(shown / simulated)),
        "{shown} against {simulated}"
    );
}

#[test]
fn what_no_time_can_show_is_said_to_be_so() {
    let mut coarse = pilot(2_000.0);
    coarse.signal = Signal::Rss.name().into();
    coarse.cpu_share = None; // larger doses are not dared then
    let ask = ask(&coarse, 600.0, 16.0);
    let found = plan(&coarse, &ask);
    let of = |unit: &str| found.shown.iter().find(|s| s.unit == unit).unwrap();
    assert_eq!(
        (of("connection").needed, found.doses),
        (None, 1),
        "a page is 41 B for each of 100"
    );
    assert!(of("event").needed.is_some());
    let said = found.said(&coarse, &ask).join("\n");
    assert!(
        said.contains("16 B per connection cannot be shown"),
        "{said}"
    );
}

#[test]
fn more_time_shows_less_and_less_is_never_more_cycles() {
    let mut before = f64::INFINITY;
    for minutes in [1.0, 2.0, 5.0, 10.0, 60.0] {
        let found = planned(20_000.0, 60.0 * minutes, 1.0);
        let widest = found.shown.iter().map(|s| s.in_time).fold(0.0, f64::max);
        assert!(widest <= before, "{minutes} min: {widest} B");
        before = widest;
    }
    let needed = |bytes| planned(20_000.0, 6e5, bytes).shown[0].needed.unwrap();
    assert!(needed(64.0) <= needed(32.0) && needed(32.0) <= needed(16.0));
}

#[test]
fn larger_doses_stay_below_the_probe_and_leave_the_target_half_a_core() {
    for (open, cpu, doses) in [
        (40.0, Some(0.05), 4), // the probe has 200
        (10.0, Some(0.05), 8),
        (10.0, Some(0.2), 2),
        (150.0, Some(0.01), 1),
        (10.0, None, 1),
    ] {
        let pilot = PilotFacts {
            open_at_once: open,
            cpu_share: cpu,
            ..pilot(1e7)
        };
        assert_eq!(
            plan(&pilot, &ask(&pilot, 600.0, 64.0)).doses,
            doses,
            "{open} open, {cpu:?}"
        );
    }
}

#[test]
fn looks_double_and_the_last_one_is_the_goal() {
    let mut looks = vec![];
    let mut done = PILOT;
    while let Some(next) = next_look(done, 100) {
        looks.push(next);
        done = next;
    }
    assert_eq!(looks, [10, 20, 40, 80, 100]);
    assert_eq!(next_look(10, 10), None);
    assert_eq!(
        next_look(6, 8),
        Some(8),
        "less time than a first look takes"
    );
    assert_eq!(
        next_look(26, 400),
        Some(40),
        "a run that is extended goes on with the grid"
    );
}

fn facts(planned_cycles: u32, stop_early: bool) -> AdaptiveFacts {
    AdaptiveFacts {
        planned_cycles,
        stop_early,
        ..AdaptiveFacts::default()
    }
}

fn judgement(verdict: Verdict, outlook: Option<Outlook>) -> Judgement {
    let mut judgement = verdict::judge(&verdict::Evidence::default(), &Rules::default());
    judgement.verdict = verdict;
    judgement
        .outlook
        .extend(outlook.map(|o| (crate::units::Factor::Session, o)));
    judgement
}

#[test]
fn a_run_ends_with_its_answer_and_an_open_one_goes_on_while_there_is_time() {
    let minutes = Some(Outlook::Minutes(3.0));
    for (verdict, outlook, done, stop_early, wanted, why) in [
        (Verdict::Clean, None, 10, false, Some(20), "planned for 26"),
        (
            Verdict::Leak,
            None,
            10,
            false,
            Some(20),
            "measured on, as planned",
        ),
        (Verdict::Leak, None, 10, true, None, "asked to stop"),
        (
            Verdict::Clean,
            None,
            20,
            true,
            Some(26),
            "no leak is no reason to stop early",
        ),
        (Verdict::Clean, None, 26, false, None, "the answer"),
        (Verdict::Leak, None, 26, false, None, "the answer"),
        (
            Verdict::Inconclusive,
            minutes,
            26,
            false,
            Some(40),
            "open, and there is time",
        ),
        (
            Verdict::UnexplainedGrowth,
            None,
            26,
            false,
            Some(40),
            "open, too",
        ),
        (
            Verdict::Inconclusive,
            Some(Outlook::Hidden),
            26,
            false,
            None,
            "no time would do",
        ),
        (
            Verdict::Inconclusive,
            minutes,
            90,
            false,
            None,
            "the time is up",
        ),
        (
            Verdict::Inconclusive,
            minutes,
            80,
            false,
            Some(90),
            "the last look is the last cycle there is time for",
        ),
    ] {
        let judged = judgement(verdict, outlook);
        let (to, said) = decide(&judged, done, &facts(26, stop_early), 90);
        assert_eq!(to, wanted, "{why}: {said}");
    }
}

#[test]
fn a_pilot_names_its_signal() {
    assert_eq!(signal(&pilot(1.0)), Signal::Allocated);
}
