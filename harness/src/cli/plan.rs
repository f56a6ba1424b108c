//! `sse-soak plan`: the whole schedule, printed, without running it.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, print, profile_path};
use crate::{plan::Plan, profile::Profile};

#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// A profile: a path, or the name of one in soak-profiles/.
    profile: PathBuf,
    /// Another seed than the profile's.
    #[arg(long)]
    seed: Option<u64>,
}

pub(super) fn plan(arguments: &PlanArguments) -> anyhow::Result<Exit> {
    let profile = Profile::read(&profile_path(&arguments.profile))?;
    let plan = Plan::new(&profile, arguments.seed.unwrap_or(profile.seed));
    print(&plan.to_string())?;
    Ok(Exit::NoLeak)
}
