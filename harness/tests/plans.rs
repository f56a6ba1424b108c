//! The shipped profiles and their schedules.

use std::{fs, path::Path};

use sse_soak::{
    plan::{Phase, Plan},
    profile::Profile,
};

fn shipped(name: &str) -> Profile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../soak-profiles")
        .join(name);
    Profile::read(&path).expect("a shipped profile is valid")
}

#[test]
fn every_shipped_profile_is_valid_and_has_a_schedule() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../soak-profiles");
    let profiles = fs::read_dir(folder).expect("the folder of profiles");
    for entry in profiles {
        let name = entry.expect("a profile").file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".toml") {
            assert!(!Plan::new(&shipped(&name), 1).steps.is_empty(), "{name}");
        }
    }
}

#[test]
fn the_quick_schedule_is_the_one_that_was_reviewed() {
    insta::assert_snapshot!(Plan::new(&shipped("quick.toml"), 1).to_string());
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_seed_other_doses() {
    let profile = shipped("quick.toml");
    assert_eq!(Plan::new(&profile, 7), Plan::new(&profile, 7));
    assert_ne!(Plan::new(&profile, 7).steps, Plan::new(&profile, 8).steps);
}

#[test]
fn the_probe_is_the_highest_concurrency_of_its_cycle_and_no_cycle_goes_without() {
    let plan = Plan::new(&shipped("quick.toml"), 1);
    let probes: Vec<_> = plan
        .steps
        .iter()
        .filter(|step| step.phase == Phase::Probe)
        .collect();
    let cycles = usize::try_from(plan.cycles + plan.priming).expect("a small count");
    assert_eq!(probes.len(), cycles);
    let doses = plan.steps.iter().filter(|step| step.phase == Phase::Dose);
    for (probe, dose) in probes.iter().zip(doses) {
        // A client of a dose is there for at most its stay; all of one batch at once is the worst case for those that stay to the end of it.
        let most = dose
            .batches
            .iter()
            .map(|batch| batch.count)
            .max()
            .unwrap_or(0);
        assert!(probe.batches[0].count > most, "cycle {}", probe.cycle);
    }
}

#[test]
fn a_population_may_come_back_and_have_a_slow_line() {
    let text = r#"
seed = 1
[target]
url = "http://127.0.0.1:8080"
[scripts.feed]
steps = [{ get = "/events" }]
[run.assay]
cycles = 10
dose = "1s"
drain-within = "2s"
settle = "100ms"
read = "100ms"
probe = { script = "feed", connections = 10, step = 1, hold = "100ms" }
[run.assay.doses.closed.fin]
script = "feed"
connections = 10
reconnect = { give-up-after = "1m" }
network = { latency = "40ms", tunnel = "10s every 60s" }
"#;
    let profile = Profile::parse("test", "test.toml", text.into()).unwrap();
    let plan = Plan::new(&profile, 1);
    let mut batches = plan.steps.iter().flat_map(|step| &step.batches);
    let manners =
        batches.find_map(|batch| Some((batch.manners.reconnect?, batch.manners.network?)));
    let (reconnect, network) = manners.unwrap();
    assert_eq!(reconnect.give_up_after.as_secs(), 60);
    assert_eq!(reconnect.after.as_secs(), 3);
    assert_eq!(network.latency.as_millis(), 40);
    assert!(network.bandwidth.is_none() && network.tunnel.is_some());
}
