//! What carries requests, on the command line: the same for a run and for load without judgement.

use std::{num::NonZeroU16, path::PathBuf};

use clap::Args;
use toml::Spanned;

use super::say;
use crate::{
    profile::{H2Spec, TargetSpec, TlsSpec},
    soak::Carriage,
};

#[derive(Debug, Args)]
pub(super) struct CarriageArguments {
    /// For https://: a PEM file with the authorities, or the server's own certificate, to trust instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// For https://: believe any certificate.
    #[arg(long)]
    insecure: bool,
    /// Speak HTTP/2, with N streams on every TCP connection; each stream counts as a connection.
    #[arg(long, value_name = "N")]
    h2: Option<NonZeroU16>,
}

impl CarriageArguments {
    /// What it says, where there is no profile.
    pub(super) fn alone(&self) -> Carriage {
        Carriage {
            ca: self.ca.clone(),
            insecure: self.insecure,
            streams_per_connection: self.h2,
        }
    }

    /// What it says beats what the profile says.
    pub(super) fn overrule(&self, target: &mut TargetSpec) {
        if self.ca.is_some() || self.insecure {
            let ca = self.ca.as_ref();
            let tls = TlsSpec {
                ca: ca.map(|file| file.to_string_lossy().into_owned()),
                insecure: self.insecure,
            };
            target.tls = Some(Spanned::new(0..0, tls));
        }
        if let Some(streams_per_connection) = self.h2 {
            target.h2 = Some(H2Spec {
                streams_per_connection,
            });
        }
    }
}

/// Says on stderr what should not be overlooked.
pub(super) fn warn(insecure: bool) {
    if insecure {
        say("warning: any certificate is believed, so nobody knows who answers");
    }
}
