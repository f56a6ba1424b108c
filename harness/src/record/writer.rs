//! Writing: append-only, a row a `write`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{
    columns::{self, Column},
    files,
    heap::Captured,
    manifest::Manifest,
    rows::{CleanupRow, EventRow, LatencyRow, ReadingRow, SampleRow},
    steps::{self, StepRow},
};

/// Why nothing more can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file could not be created or written: a full disk, a missing permission.
    #[error("cannot write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A run directory that is being written.
pub struct RunDir {
    path: PathBuf,
    samples: Csv,
    sample_columns: Vec<Column<SampleRow>>,
    readings: Csv,
    reading_columns: Vec<Column<ReadingRow>>,
    cleanup: Csv,
    events: Csv,
    latency: Csv,
    /// Made with its first row: only one kind of run has it.
    steps: Option<Csv>,
}

impl RunDir {
    /// Makes `path` and the files with their header lines.
    ///
    /// # Errors
    /// The folder exists already, or cannot be written.
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|source| failed(parent, source))?;
        }
        fs::create_dir(path).map_err(|source| failed(path, source))?;
        let sample_columns = columns::sample_columns();
        let reading_columns = columns::reading_columns();
        Ok(Self {
            samples: Csv::create(
                path,
                files::SAMPLES,
                &header(["t_s", "phase", "cycle"], &sample_columns),
            )?,
            readings: Csv::create(
                path,
                files::READINGS,
                &header(["t_s", "kind", "cycle"], &reading_columns),
            )?,
            cleanup: Csv::create(
                path,
                files::CLEANUP,
                &[
                    "t_s",
                    "cycle",
                    "of",
                    "left",
                    "lingering",
                    "clean_s",
                    "clean_p50_s",
                    "clean_p99_s",
                ]
                .map(String::from),
            )?,
            events: Csv::create(
                path,
                files::EVENTS,
                &["t_s", "kind", "text"].map(String::from),
            )?,
            latency: Csv::create(
                path,
                files::LATENCY,
                &["t_s", "of", "count", "p50_us", "p90_us", "p99_us", "max_us"].map(String::from),
            )?,
            path: path.into(),
            sample_columns,
            reading_columns,
            steps: None,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the manifest as a whole; a reader sees the old one or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn manifest(&self, manifest: &Manifest) -> Result<(), RecordError> {
        let text = serde_json::to_string_pretty(manifest).expect("a manifest is JSON");
        self.text(files::MANIFEST, &(text + "\n"))
    }

    /// Writes a whole file: the old content stays readable until the new one is complete.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn text(&self, name: &str, text: &str) -> Result<(), RecordError> {
        let path = self.path.join(name);
        let fresh = self.path.join(format!(".{name}.part"));
        fs::write(&fresh, text).map_err(|source| failed(&fresh, source))?;
        fs::rename(&fresh, &path).map_err(|source| failed(&path, source))
    }

    /// Makes a file in `heap/`, for a dump.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn dump(&self, name: &str) -> Result<File, RecordError> {
        let folder = self.path.join(files::HEAP);
        fs::create_dir_all(&folder).map_err(|source| failed(&folder, source))?;
        let path = folder.join(name);
        File::create(&path).map_err(|source| failed(&path, source))
    }

    /// Replaces `heap/windows.json` as a whole.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn captured(&self, captured: &Captured) -> Result<(), RecordError> {
        let path = self.path.join(files::WINDOWS);
        let fresh = path.with_extension("part");
        let text = serde_json::to_string_pretty(captured).expect("plain data is JSON");
        let folder = self.path.join(files::HEAP);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&fresh, text + "\n"))
            .and_then(|()| fs::rename(&fresh, &path))
            .map_err(|source| failed(&path, source))
    }

    /// Appends a sample.
    ///
    /// # Errors
    /// The row cannot be written.
    pub fn sample(&mut self, row: &SampleRow) -> Result<(), RecordError> {
        let first = [
            row.sample.at.to_string(),
            row.phase.name().into(),
            row.cycle.to_string(),
        ];
        let cells = cells(first, &self.sample_columns, row);
        self.samples.append(&cells)
    }

    /// Appends a reading.
    ///
    /// # Errors
    /// The row cannot be written.
    pub fn reading(&mut self, row: &ReadingRow) -> Result<(), RecordError> {
        let times: Vec<f64> = row.looks.iter().map(|look| look.at.seconds()).collect();
        let mean = times.iter().sum::<f64>() / times.len().max(1) as f64;
        let first = [
            format!("{mean:.3}"),
            row.kind.name().into(),
            row.cycle.to_string(),
        ];
        let cells = cells(first, &self.reading_columns, row);
        self.readings.append(&cells)
    }

    /// Appends what lingered.
    ///
    /// # Errors
    /// The row cannot be written.
    pub fn cleanup(&mut self, row: &CleanupRow) -> Result<(), RecordError> {
        let seconds =
            |time: Option<f64>| time.map_or_else(String::new, |time| format!("{time:.3}"));
        let cells = [
            row.at.to_string(),
            row.cycle.to_string(),
            row.of.into(),
            row.left.to_string(),
            row.lingering
                .map_or_else(String::new, |count| count.to_string()),
            seconds(row.clean_s),
            seconds(row.half_clean_s),
            seconds(row.clean_99_s),
        ];
        self.cleanup.append(&cells)
    }

    /// Appends an event.
    ///
    /// # Errors
    /// The row cannot be written.
    pub fn event(&mut self, row: &EventRow) -> Result<(), RecordError> {
        self.events
            .append(&[row.at.to_string(), row.kind.name().into(), row.text.clone()])
    }

    /// Appends a step.
    ///
    /// # Errors
    /// The row cannot be written.
    pub fn step(&mut self, row: &StepRow) -> Result<(), RecordError> {
        let csv = match &mut self.steps {
            Some(csv) => csv,
            none => none.insert(Csv::create(&self.path, files::STEPS, &steps::header())?),
        };
        csv.append(&steps::cells(row))
    }

    /// Appends latencies.
    ///
    /// # Errors
    /// The row cannot be written.
    pub fn latency(&mut self, row: &LatencyRow) -> Result<(), RecordError> {
        let mut cells = vec![row.at.to_string(), row.of.into(), row.count.to_string()];
        cells.extend(row.percentiles_us.iter().map(u64::to_string));
        self.latency.append(&cells)
    }
}

fn failed(path: &Path, source: io::Error) -> RecordError {
    RecordError::Write {
        path: path.into(),
        source,
    }
}

fn header<R: ?Sized>(first: [&str; 3], columns: &[Column<R>]) -> Vec<String> {
    first
        .into_iter()
        .map(String::from)
        .chain(columns.iter().map(|column| column.name.clone()))
        .collect()
}

fn cells<R>(first: [String; 3], columns: &[Column<R>], row: &R) -> Vec<String> {
    let number = |value: Option<f64>| {
        value
            .filter(|value| value.is_finite())
            .map_or_else(String::new, number)
    };
    first
        .into_iter()
        .chain(columns.iter().map(|column| number((column.value)(row))))
        .collect()
}

/// Whole numbers as they are, others with a microsecond's worth of digits.
#[expect(clippy::float_cmp, reason = "asks whether the number is whole")]
fn number(value: f64) -> String {
    if value.trunc() == value {
        format!("{value}")
    } else {
        format!("{value:.6}")
    }
}

/// One CSV file.
struct Csv {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
}

impl Csv {
    fn create(folder: &Path, name: &str, header: &[String]) -> Result<Self, RecordError> {
        let path = folder.join(name);
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(|source| failed(&path, source))?;
        let mut csv = Self {
            path,
            file,
            line: Vec::new(),
        };
        csv.append(header)?;
        Ok(csv)
    }

    /// One row, one `write`: whoever reads the file sees whole rows, but for the last one of a killed run.
    fn append<S: AsRef<[u8]>>(&mut self, cells: &[S]) -> Result<(), RecordError> {
        self.line.clear();
        let mut writer = csv::Writer::from_writer(&mut self.line);
        let made = writer
            .write_record(cells)
            .map_err(io::Error::other)
            .and_then(|()| writer.flush());
        drop(writer);
        made.and_then(|()| self.file.write_all(&self.line))
            .map_err(|source| failed(&self.path, source))
    }
}
