//! `sse-soak run --resume RUN`: what the run directory says about how the run was started.

use std::path::Path;

use anyhow::Context as _;
use clap::Parser as _;

use super::{Arguments, Command, exit::Usage, run::RunArguments};
use crate::{
    profile::Profile,
    record::{self, Manifest, files},
    soak,
};

/// The command line with which a run was begun, and its profile as it was then.
pub(super) struct Begun {
    pub(super) arguments: RunArguments,
    pub(super) profile: Profile,
    pub(super) manifest: Manifest,
}

pub(super) fn begun(folder: &Path) -> anyhow::Result<Begun> {
    let refused = || format!("{} cannot be resumed", folder.display());
    let manifest = record::manifest(folder).with_context(refused)?;
    soak::may_resume(&manifest).with_context(refused)?;
    let file = folder.join(files::PROFILE);
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    if soak::fingerprint(&text) != manifest.profile_sha256 {
        let why = format!(
            "{} is not the profile that it was begun with",
            file.display()
        );
        return Err(Usage(why).into());
    }
    let mut profile = Profile::parse(&manifest.profile, &file.display().to_string(), text)?;
    let Ok(Arguments {
        command: Command::Run(arguments),
    }) = Arguments::try_parse_from(&manifest.command)
    else {
        let why = "its command line is not one of this version's";
        return Err(Usage(why.into())).with_context(refused);
    };
    profile.folder = arguments.folder_of_profile();
    Ok(Begun {
        arguments,
        profile,
        manifest,
    })
}
