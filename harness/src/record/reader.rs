//! Reading a run directory back: a finished run, a killed one, or one under way.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    plan::Leave,
    timeline::{Counts, Elapsed, End},
};

use super::{
    columns, files,
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
            let (mut table, mut found) = Table::read(file, texts)
                .map_err(|source| RecordingError::NotATable { path, source })?;
            if [files::SAMPLES, files::READINGS].contains(&name) {
                table.mend(&mut found);
            }
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
        let steps = if folder.join(files::STEPS).exists() {
            table(files::STEPS, &[], u64::MAX)?
        } else {
            Table::default()
        };
        Ok(Self {
            manifest: manifest(folder)?,
            samples: table(files::SAMPLES, &["phase"], HEAD)?,
            readings: table(files::READINGS, &["kind"], u64::MAX)?,
            cleanup: Table::default(),
            events: table(files::EVENTS, &["kind", "text"], u64::MAX)?,
            latency: Table::default(),
            steps,
            stacks: None,
            complaints: Vec::new(),
        })
    }
}

/// What the load had done when the last row was written: where a resumed run goes on counting.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// What the load had done; nobody is there any more.
    pub counts: Counts,
    /// Connection-seconds since the closes, by [`Leave::index`].
    pub exposure: [f64; Leave::ALL.len()],
    /// Blocks and bytes that the target was asked to retain.
    pub retained: (u64, u64),
    /// The last generation of the target.
    pub generation: u64,
    /// When the last row of any table was written.
    pub at: Elapsed,
}

impl Recording {
    /// What was done by the last row. Who was connected then, is counted as stopped: they went with the harness.
    pub fn done(&self) -> Done {
        let (samples, readings) = (&self.samples, &self.readings);
        let [sample, reading] = [samples, readings].map(|table| table.rows().checked_sub(1));
        let of = |table, row: Option<usize>| row.map(|row| columns::counts_at(table, row));
        let both = [of(samples, sample), of(readings, reading)];
        let mut counts = both.into_iter().flatten().fold(Counts::default(), later);
        counts.ended[End::Stopped as usize] += counts.live();
        counts.carriers_closed[Leave::Fin.index()] += counts.carriers();
        let number = |name: &str| reading.and_then(|row| readings.number(name, row));
        let most = |table: &Table, name: &str| {
            let values = table.numbers(name).unwrap_or_default().iter();
            values.copied().fold(0.0, f64::max) // passes over what is missing
        };
        let tables = [
            samples,
            readings,
            &self.cleanup,
            &self.events,
            &self.latency,
        ];
        let at = tables.map(|table| most(table, "t_s")).into_iter();
        let generations = [samples, readings].map(|table| most(table, "target_generation"));
        Done {
            counts,
            exposure: reading
                .map_or_else(Default::default, |row| columns::exposure_at(readings, row)),
            retained: (
                whole(number("retained_blocks_total")),
                whole(number("retained_bytes_total")),
            ),
            generation: whole(generations.into_iter().reduce(f64::max)),
            at: Elapsed(Duration::try_from_secs_f64(at.fold(0.0, f64::max)).unwrap_or_default()),
        }
    }
}

/// Of two counts of the same load the one that had gone on longer.
fn later(one: Counts, other: Counts) -> Counts {
    if other.opened + other.closed_total() + other.events
        >= one.opened + one.closed_total() + one.events
    {
        other
    } else {
        one
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count, written as a whole number"
)]
fn whole(value: Option<f64>) -> u64 {
    value.unwrap_or(0.0).max(0.0) as u64
}

fn open(path: &Path) -> Result<File, RecordingError> {
    File::open(path).map_err(|source| RecordingError::Unreadable {
        path: path.into(),
        source,
    })
}

/// The manifest of a run directory.
///
/// # Errors
/// There is none, or a later version wrote it.
pub fn manifest(folder: &Path) -> Result<Manifest, RecordingError> {
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
