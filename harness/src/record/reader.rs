//! Reading a run directory back: a finished run, a killed one, or one under way.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    files,
    heap::Stacks,
    manifest::{LAYOUT, Manifest},
    table::{Complaint, Table},
};

/// Why a folder cannot be read as a run.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A file is missing or unreadable.
    #[error("{path} cannot be read; is this a run directory?")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is no manifest.
    #[error("{path} is not a manifest")]
    NotAManifest {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Written by a later version.
    #[error("{path} has layout {layout}; this version reads layouts up to {LAYOUT}")]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its layout.
        layout: u32,
    },
    /// A file of `heap/` is damaged.
    #[error("{path} cannot be used; `sse-soak profile RUN` makes it again from the dumps")]
    NotJson {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A table has no header.
    #[error("{path} is not a table")]
    NotATable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: csv::Error,
    },
}

/// A run directory, read.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What was run.
    pub manifest: Manifest,
    /// One row a sample.
    pub samples: Table,
    /// One row a reading.
    pub readings: Table,
    /// What lingered.
    pub cleanup: Table,
    /// What happened.
    pub events: Table,
    /// Latencies.
    pub latency: Table,
    /// Steps of a step load; empty in other runs.
    pub steps: Table,
    /// Allocation profiles, if the run has some.
    pub stacks: Option<Stacks>,
    /// What could not be used, by file.
    pub complaints: Vec<(&'static str, Complaint)>,
}

impl Recording {
    /// Reads a run directory.
    ///
    /// # Errors
    /// It is none, or was written by a later version.
    pub fn read(folder: &Path) -> Result<Self, RecordingError> {
        let mut complaints = Vec::new();
        let mut table = |name: &'static str, texts: &[&str]| -> Result<Table, RecordingError> {
            let path = folder.join(name);
            let file = open(&path)?;
            let (table, found) = Table::read(file, texts)
                .map_err(|source| RecordingError::NotATable { path, source })?;
            complaints.extend(found.into_iter().map(|complaint| (name, complaint)));
            Ok(table)
        };
        let steps = if folder.join(files::STEPS).exists() {
            table(files::STEPS, &[])?
        } else {
            Table::default()
        };
        Ok(Self {
            manifest: manifest(folder)?,
            stacks: Stacks::read(folder)?,
            samples: table(files::SAMPLES, &["phase"])?,
            readings: table(files::READINGS, &["kind"])?,
            cleanup: table(files::CLEANUP, &["of"])?,
            events: table(files::EVENTS, &["kind", "text"])?,
            latency: table(files::LATENCY, &["of"])?,
            steps,
            complaints,
        })
    }
}

/// As much of `samples.csv` as a reader needs who only wants to know how it began.
const HEAD: u64 = 64 * 1024;

impl Recording {
    /// What the readings of a run under way can be judged from: readings, events, and how the samples began. Costs the same at the
    /// end of a day as at its beginning, which [`read`](Self::read) does not.
    ///
    /// # Errors
    /// It is no run directory, or was written by a later version.
    pub fn so_far(folder: &Path) -> Result<Self, RecordingError> {
        let table = |name: &str, texts: &[&str], most: u64| -> Result<Table, RecordingError> {
            let path = folder.join(name);
            let (table, _) = Table::read(open(&path)?.take(most), texts)
                .map_err(|source| RecordingError::NotATable { path, source })?;
            Ok(table)
        };
        Ok(Self {
            manifest: manifest(folder)?,
            samples: table(files::SAMPLES, &["phase"], HEAD)?,
            readings: table(files::READINGS, &["kind"], u64::MAX)?,
            cleanup: Table::default(),
            events: table(files::EVENTS, &["kind", "text"], u64::MAX)?,
            latency: Table::default(),
            steps: Table::default(),
            stacks: None,
            complaints: Vec::new(),
        })
    }
}

fn open(path: &Path) -> Result<File, RecordingError> {
    File::open(path).map_err(|source| RecordingError::Unreadable {
        path: path.into(),
        source,
    })
}

fn manifest(folder: &Path) -> Result<Manifest, RecordingError> {
    let path = folder.join(files::MANIFEST);
    let json: serde_json::Value =
        serde_json::from_reader(open(&path)?).map_err(|source| RecordingError::NotAManifest {
            path: path.clone(),
            source,
        })?;
    let layout = json
        .get("layout")
        .and_then(serde_json::Value::as_u64)
        .and_then(|layout| u32::try_from(layout).ok())
        .unwrap_or(0);
    if layout > LAYOUT {
        return Err(RecordingError::TooNew { path, layout });
    }
    serde_json::from_value(json).map_err(|source| RecordingError::NotAManifest { path, source })
}
