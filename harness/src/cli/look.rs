//! `--dashboard`: a run under way, in a browser.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::Context as _;
use clap::Args;

use super::say;
use crate::{
    dashboard::{Controls, Dashboard, Door},
    diagnose::finding::Findings,
    record::files,
    soak::{Setup, Stop},
};

#[derive(Debug, Args)]
pub(super) struct LookArguments {
    /// Show the run under way in a browser, at this address; /metrics is for Prometheus and its kin.
    #[arg(long, value_name = "ADDR:PORT")]
    dashboard: Option<SocketAddr>,
    /// Let viewers on other machines look. Whatever the profile and the target say can then be read by them.
    #[arg(long, requires = "dashboard")]
    allow_remote_viewers: bool,
    /// Who gives this token on the dashboard may hold and stop the run; without it the dashboard is read-only.
    #[arg(
        long,
        requires = "dashboard",
        value_name = "TOKEN",
        env = "SSE_SOAK_DASHBOARD_TOKEN",
        hide_env_values = true
    )]
    dashboard_token: Option<String>,
}

impl LookArguments {
    /// Takes the address, if one is wanted.
    pub(super) fn open(&self) -> anyhow::Result<Option<Door>> {
        let door = self
            .dashboard
            .map(|address| Door::open(address, self.allow_remote_viewers));
        Ok(door.transpose()?)
    }

    /// Shows the run to whoever comes.
    pub(super) fn start(
        &self,
        door: Option<Door>,
        setup: &Setup,
        stop: &Stop,
    ) -> anyhow::Result<Option<Dashboard>> {
        let Some(door) = door else { return Ok(None) };
        let address = door
            .address()
            .context("cannot tell where the dashboard is")?;
        let controls = self.dashboard_token.clone().map(|token| {
            let (stopped, held) = (stop.clone(), stop.clone());
            Controls {
                token,
                stop: Box::new(move || stopped.ask()),
                pause: Box::new(move |wanted| held.hold(wanted)),
            }
        });
        let started = Dashboard::start(
            door,
            setup.out.clone(),
            setup.profile.name.clone(),
            controls,
        )?;
        say(&format!("to be seen at http://{address}/"));
        Ok(Some(started))
    }
}

/// Shows the verdict to whoever still looks.
pub(super) fn close(dashboard: Option<Dashboard>, run: &Path) {
    let Some(dashboard) = dashboard else { return };
    let text = fs::read_to_string(run.join(files::FINDINGS)).unwrap_or_default();
    let verdict = serde_json::from_str::<Findings>(&text).map(|findings| findings.text);
    dashboard.close(verdict.unwrap_or_else(|_| "the run is over".into()));
}
