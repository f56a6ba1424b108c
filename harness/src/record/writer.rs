//! Writing: append-only, a row a `write`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufReader, Read as _, Write as _},
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
    /// Another harness writes there.
    #[error("another sse-soak still writes into {path}")]
    Taken {
        /// The run directory.
        path: PathBuf,
    },
    /// A later or an earlier version began it.
    #[error(
        "{path} has other columns than this version writes: only the version that began a run can go on with it"
    )]
    OtherColumns {
        /// Which file.
        path: PathBuf,
    },
}

/// A last line that was never finished, and was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Of which file.
    pub file: &'static str,
    /// How long it was, bytes.
    pub bytes: u64,
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
        let dir = Self::with(path, |name, header| Csv::create(path, name, header))?;
        dir.lock()?;
        Ok(dir)
    }

    /// Opens a run directory to go on with it. A last line that was torn off is taken away, and told.
    ///
    /// # Errors
    /// Another harness writes there, another version began it, or it cannot be written.
    pub fn reopen(path: &Path) -> Result<(Self, Vec<Torn>), RecordError> {
        let dir = Self::with(path, |name, header| Csv::reopen(path, name, header))?;
        dir.lock()?;
        let mut torn = Vec::new();
        for csv in [
            &dir.samples,
            &dir.readings,
            &dir.cleanup,
            &dir.events,
            &dir.latency,
        ] {
            torn.extend(csv.mend()?);
        }
        Ok((dir, torn))
    }

    /// Held by the open file: the kernel lets go of it however we end. A file system that knows no locks is no reason not to run.
    fn lock(&self) -> Result<(), RecordError> {
        match self.samples.file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(RecordError::Taken {
                path: self.path.clone(),
            }),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
        }
    }

    fn with(
        path: &Path,
        open: impl Fn(&'static str, &[String]) -> Result<Csv, RecordError>,
    ) -> Result<Self, RecordError> {
        let sample_columns = columns::sample_columns();
        let reading_columns = columns::reading_columns();
        Ok(Self {
            samples: open(
                files::SAMPLES,
                &header(["t_s", "phase", "cycle"], &sample_columns),
            )?,
            readings: open(
                files::READINGS,
                &header(["t_s", "kind", "cycle"], &reading_columns),
            )?,
            cleanup: open(
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
            events: open(files::EVENTS, &["t_s", "kind", "text"].map(String::from))?,
            latency: open(
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
    name: &'static str,
    path: PathBuf,
    file: File,
    line: Vec<u8>,
}

impl Csv {
    fn create(folder: &Path, name: &'static str, header: &[String]) -> Result<Self, RecordError> {
        let path = folder.join(name);
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(|source| failed(&path, source))?;
        let mut csv = Self {
            name,
            path,
            file,
            line: Vec::new(),
        };
        csv.append(header)?;
        Ok(csv)
    }

    /// Opens a file that has this header.
    fn reopen(folder: &Path, name: &'static str, header: &[String]) -> Result<Self, RecordError> {
        let path = folder.join(name);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .map_err(|source| failed(&path, source))?;
        let mut reader = csv::Reader::from_reader(&file);
        let found = reader.headers();
        if !found.is_ok_and(|found| found.iter().eq(header)) {
            return Err(RecordError::OtherColumns { path });
        }
        Ok(Self {
            name,
            path,
            file,
            line: Vec::new(),
        })
    }

    /// Takes away a last line that was never finished.
    fn mend(&self) -> Result<Option<Torn>, RecordError> {
        let failed = |source| failed(&self.path, source);
        let whole = File::open(&self.path)
            .and_then(whole_lines)
            .map_err(failed)?;
        let bytes = self.file.metadata().map_err(failed)?.len() - whole;
        if bytes == 0 {
            return Ok(None);
        }
        self.file.set_len(whole).map_err(failed)?;
        Ok(Some(Torn {
            file: self.name,
            bytes,
        }))
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

/// How many bytes of a CSV file are whole lines. A line break between quotes belongs to its cell.
fn whole_lines(file: File) -> io::Result<u64> {
    let (mut whole, mut is_quoted) = (0, false);
    for (byte, place) in BufReader::with_capacity(1 << 16, file).bytes().zip(1..) {
        match byte? {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => whole = place,
            _ => {}
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{EventKind, Recording},
        timeline::Elapsed,
    };

    fn event(text: &str) -> EventRow {
        EventRow {
            at: Elapsed::default(),
            kind: EventKind::Note,
            text: text.into(),
        }
    }

    /// A run directory with two events, the second in two lines.
    fn begun(folder: &Path) -> (PathBuf, RunDir) {
        let path = folder.join("run");
        let mut dir = RunDir::create(&path).unwrap();
        for text in ["one", "two,\nin \"two\" lines"] {
            dir.event(&event(text)).unwrap();
        }
        (path, dir)
    }

    #[test]
    fn a_torn_last_line_is_taken_away_wherever_it_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let (path, dir) = begun(folder.path());
        drop(dir);
        let events = path.join(files::EVENTS);
        let text = fs::read_to_string(&events).unwrap();
        let first = text.find("one").unwrap() + 4;
        for cut in first + 1..text.len() {
            fs::write(&events, &text[..cut]).unwrap();
            let (mut dir, torn) = RunDir::reopen(&path).unwrap();
            let bytes = (cut - first) as u64;
            assert_eq!(
                torn,
                [Torn {
                    file: files::EVENTS,
                    bytes
                }],
                "cut at {cut}"
            );
            dir.event(&event("three")).unwrap();
            let mended = fs::read_to_string(&events).unwrap();
            assert_eq!(mended, text[..first].to_owned() + "0.000,note,three\n");
        }
    }

    #[test]
    fn whoever_still_writes_keeps_others_out_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, dir) = begun(folder.path());
        assert!(matches!(
            RunDir::reopen(&path),
            Err(RecordError::Taken { .. })
        ));
        drop(dir);
        assert_eq!(RunDir::reopen(&path).unwrap().1, []);
    }

    #[test]
    fn other_columns_are_another_versions() {
        let folder = tempfile::tempdir().unwrap();
        let (path, dir) = begun(folder.path());
        drop(dir);
        fs::write(path.join(files::LATENCY), "t_s,of,mean_us\n").unwrap();
        let error = RunDir::reopen(&path).err().unwrap().to_string();
        assert!(error.contains("latency.csv has other columns"), "{error}");
        assert!(Recording::read(&path).is_err(), "it has no manifest");
    }
}
