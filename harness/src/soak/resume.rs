//! Going on with a run that was cut short: what the recording says was done, and which steps are left.
//!
//! In: a run directory. Out: [`Resumed`]: counts, clock and steps from which the conductor goes on. What cannot be gone on with is refused in
//! one sentence. The break is a new generation of the target: nobody knows what happened in it, so no level is carried over it.

use std::{fs, path::Path, time::Duration};

use super::SoakError;
use crate::{
    plan::{Length, Phase, Plan, Step},
    record::{Done, LAYOUT, Manifest, Recording, RunDir, Torn, files},
    target::{self, proc::ProcessId},
    timeline::Clock,
};

/// Where a run goes on.
pub(super) struct Resumed {
    pub(super) done: Done,
    pub(super) clock: Clock,
    pub(super) dir: RunDir,
    pub(super) manifest: Manifest,
    /// The steps that are left, after those that open a run.
    pub(super) plan: Plan,
    /// What is said about the break.
    pub(super) text: String,
}

/// Whether a run can be gone on with.
///
/// # Errors
/// [`SoakError::Resume`] with the reason.
pub fn may_resume(manifest: &Manifest) -> Result<(), SoakError> {
    let refuse = |why: String| Err(SoakError::Resume(why));
    if manifest.layout != LAYOUT {
        return refuse(format!(
            "it has layout {}, and this version writes {LAYOUT}: only the version that began a run can go on with it",
            manifest.layout
        ));
    }
    if manifest.plan.steps.is_some() {
        let why = "a step load is not gone on with: its knee is looked for in one go";
        return refuse(why.into());
    }
    match manifest.ended.as_ref() {
        Some(ended) if !["interrupted", "failed"].contains(&ended.reason.as_str()) => {
            refuse(format!("it has ended: {}", ended.text))
        }
        _ => Ok(()),
    }
}

/// Reads where the run stood, and opens its files to go on.
pub(super) fn resume(folder: &Path, plan: &Plan) -> Result<Resumed, SoakError> {
    let (dir, torn) = RunDir::reopen(folder)?;
    let recording =
        Recording::read(folder).map_err(|error| SoakError::Resume(error.to_string()))?;
    let manifest = &recording.manifest;
    may_resume(manifest)?; // asked before, but then nobody held the files
    let began = humantime::parse_rfc3339(&manifest.started)
        .map_err(|error| SoakError::Resume(format!("`{}`: {error}", manifest.started)))?;
    let done = recording.done();
    let clock = Clock::resume(began, done.at);
    let next = next_step(plan, &recording);
    let Some(step) = plan.steps.get(next) else {
        let why = "every step of it was done: `sse-soak diagnose` judges it";
        return Err(SoakError::Resume(why.into()));
    };
    let text = said(&done, &clock, step, (next, plan.steps.len()), &torn);
    let manifest = Manifest {
        ended: None,
        ..recording.manifest
    };
    Ok(Resumed {
        done,
        clock,
        dir,
        plan: from(plan, next),
        manifest,
        text,
    })
}

/// The step after the last one whose reading is complete. A rest that has only begun is taken again.
fn next_step(plan: &Plan, recording: &Recording) -> usize {
    let readings = &recording.readings;
    let of = |row: usize| -> Option<usize> {
        let phases: &[Phase] = match readings.text("kind", row)? {
            "cycle" => &[Phase::Read, Phase::ReadLoaded],
            "rest-end" => &[Phase::Rest],
            _ => return None,
        };
        let cycle = readings.number("cycle", row)?;
        let is_its = |step: &Step| {
            phases.contains(&step.phase) && (f64::from(step.cycle) - cycle).abs() < 0.5
        };
        plan.steps.iter().rposition(is_its)
    };
    let last = (0..readings.rows()).rev().find_map(of);
    last.map_or(0, |last| last + 1)
}

/// The steps from this one on, after those that open a run: the standing population comes again, one client of every script shows that
/// the target answers, and a drain finds out what is there with nobody connected.
fn from(plan: &Plan, next: usize) -> Plan {
    let is_opening =
        |step: &Step| step.phase == Phase::Drain && matches!(step.length, Length::For(_));
    let opening = plan.steps.iter().position(is_opening);
    let opening = opening.map_or(0, |last| last + 1).min(next);
    let cycle = plan.steps.get(next).map_or(0, |step| step.cycle);
    let again = plan.steps[..opening].iter().map(|step| Step {
        cycle,
        ..step.clone()
    });
    let rest = plan.steps[next..].iter().cloned();
    Plan {
        steps: again.chain(rest).collect(),
        ..plan.clone()
    }
}

fn said(
    done: &Done,
    clock: &Clock,
    step: &Step,
    (next, steps): (usize, usize),
    torn: &[Torn],
) -> String {
    let gap = Duration::from_secs(clock.now().since(done.at).as_secs());
    let torn: String = torn
        .iter()
        .map(|torn| {
            format!(
                "; an unfinished last row of {} ({} bytes) was taken away",
                torn.file, torn.bytes
            )
        })
        .collect();
    let backwards = if clock.wall_before(done.at) {
        "; the wall clock stands before the last row, so the length of the break is not known"
    } else {
        ""
    };
    format!(
        "goes on {} after its last row with step {} of {steps}, {} of cycle {}{backwards}{torn}",
        humantime::format_duration(gap),
        next + 1,
        step.phase,
        step.cycle
    )
}

/// Stops what the harness before us started and could not stop; says so if it still ran.
pub(super) fn stop_leftover(manifest: &Manifest, grace: Duration) -> Option<String> {
    let facts = &manifest.target;
    let same_boot = manifest.host.get("boot_id") == Some(&super::open::boot_id());
    let id = ProcessId {
        pid: facts.pid?,
        started: facts.started?,
    };
    let was_ours = !facts.argv.is_empty() && same_boot;
    (was_ours && target::end(id, grace)).then(|| {
        format!("process {id} of the target still ran and was stopped: another takes its place")
    })
}

/// The files of the target before would be taken for the new one's: a ready file says that it listens, and its log would be overwritten.
pub(super) fn clear(folder: &Path, ready_file: Option<&Path>) -> std::io::Result<()> {
    let gone = |done: std::io::Result<()>| match done {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    if let Some(file) = ready_file.filter(|file| file.starts_with(folder)) {
        gone(fs::remove_file(file))?;
    }
    let log = folder.join(files::TARGET_LOG);
    let kept = (1..1000)
        .map(|number| folder.join(format!("target.{number}.log")))
        .find(|path| !path.exists());
    kept.map_or(Ok(()), |kept| gone(fs::rename(log, kept)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{profile::Profile, record::Ended};

    fn plan() -> Plan {
        let text = include_str!("../../tests/run/short.toml").to_owned();
        let profile = Profile::parse("short", "short.toml", text).unwrap();
        Plan::new(&profile, 1)
    }

    /// A recording of nothing but these readings.
    fn recording(rows: &[(&str, i32)]) -> Recording {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let dir = RunDir::create(&path).unwrap();
        dir.manifest(&manifest()).unwrap();
        let mut text = "t_s,kind,cycle\n".to_owned();
        for (number, (kind, cycle)) in rows.iter().enumerate() {
            text += &format!("{number},{kind},{cycle}\n");
        }
        fs::write(path.join(files::READINGS), text).unwrap();
        Recording::read(&path).unwrap()
    }

    fn manifest() -> Manifest {
        serde_json::from_value(serde_json::json!({
            "layout": LAYOUT, "version": "0", "command": [], "profile": "short", "profile_sha256": "", "kind": "assay", "seed": 1,
            "started": "2026-11-23T00:00:00.000Z",
            "plan": { "factors": [], "priming": 3, "cycles": 12, "standing": 0, "drain_within_s": 1.0, "control_bytes": null,
                      "tolerances": {}, "longest_s": 60.0 },
            "host": {}, "target": { "argv": [], "pid": null, "url": "", "status": null, "status_at_end": null }, "ended": null,
        }))
        .unwrap()
    }

    #[test]
    fn a_run_goes_on_with_the_step_after_its_last_whole_reading() {
        let plan = plan();
        for (rows, phase, cycle) in [
            (&[][..], Phase::Trial, -3),
            (&[("rest-start", -3)], Phase::Trial, -3),
            (&[("rest-start", -3), ("rest-end", -3)], Phase::Dose, -3),
            (&[("cycle", -3)], Phase::Dose, -2),
            (&[("cycle", -1)], Phase::Rest, 0),
            (&[("cycle", -1), ("rest-start", 0)], Phase::Rest, 0),
            (&[("rest-start", 0), ("rest-end", 0)], Phase::Dose, 0),
            (&[("cycle", 11)], Phase::Rest, 12),
        ] {
            let step = &plan.steps[next_step(&plan, &recording(rows))];
            assert_eq!((step.phase, step.cycle), (phase, cycle), "{rows:?}");
        }
    }

    #[test]
    fn what_opens_a_run_opens_it_again_and_nothing_is_played_twice() {
        let plan = plan();
        let next = next_step(&plan, &recording(&[("cycle", 4)]));
        let rest = from(&plan, next);
        let opening: Vec<(Phase, i32)> = rest.steps[..3]
            .iter()
            .map(|step| (step.phase, step.cycle))
            .collect();
        assert_eq!(
            opening,
            [(Phase::Trial, 5), (Phase::Drain, 5), (Phase::Dose, 5)]
        );
        assert_eq!(rest.steps.len(), plan.steps.len() - next + 2);
        assert_eq!(from(&plan, 0), plan, "one that had not begun begins");
    }

    #[test]
    fn what_cannot_be_gone_on_with_is_refused_with_its_reason() {
        let ended = |reason: &str| Manifest {
            ended: Some(Ended {
                t_s: 1.0,
                reason: reason.into(),
                text: "the words".into(),
            }),
            ..manifest()
        };
        for reason in ["finished", "target-died", "alarm"] {
            let error = may_resume(&ended(reason)).unwrap_err().to_string();
            assert!(error.ends_with("it has ended: the words"), "{error}");
        }
        for reason in ["interrupted", "failed"] {
            assert!(may_resume(&ended(reason)).is_ok(), "{reason}");
        }
        assert!(may_resume(&manifest()).is_ok());
        let older = Manifest {
            layout: LAYOUT - 1,
            ..manifest()
        };
        assert!(may_resume(&older).is_err());
    }
}
