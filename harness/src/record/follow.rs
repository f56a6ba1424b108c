//! Reading a table while somebody writes it: whoever follows costs the writer nothing, and may be late.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Bytes read at once: what a minute of samples takes, so that catching up takes turns with everything else.
const AT_ONCE: u64 = 256 * 1024;

/// One row of a table that is followed.
pub struct Row<'a> {
    names: &'a [String],
    cells: &'a csv::StringRecord,
}

impl Row<'_> {
    /// A number; `None` if the column or the value is missing.
    pub fn number(&self, name: &str) -> Option<f64> {
        let value: f64 = self.text(name)?.parse().ok()?;
        value.is_finite().then_some(value)
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let place = self.names.iter().position(|known| known == name)?;
        self.cells.get(place)
    }

    /// Every column with its number, where it has one.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, f64)> {
        let each = self.names.iter().zip(self.cells);
        each.filter_map(|(name, cell)| Some((name.as_str(), cell.parse().ok()?)))
    }
}

/// A table that grows.
pub struct Follow {
    path: PathBuf,
    file: Option<File>,
    /// Read, and not a whole line yet.
    begun: Vec<u8>,
    names: Vec<String>,
}

impl Follow {
    /// Follows a file that need not be there yet.
    pub fn new(folder: &Path, name: &str) -> Self {
        Self {
            path: folder.join(name),
            file: None,
            begun: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Hands over the rows that were written since the last time; whether there may be more at once.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn rows(&mut self, each: &mut dyn FnMut(&Row<'_>)) -> io::Result<bool> {
        let file = match &mut self.file {
            Some(file) => file,
            None => match File::open(&self.path) {
                Ok(file) => self.file.insert(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            },
        };
        let read = file.take(AT_ONCE).read_to_end(&mut self.begun)?;
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(false);
        };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        self.parse(&whole, each);
        Ok(read as u64 == AT_ONCE)
    }

    /// A line that is no row (cut by a full disk, say) is left out, as the reader of a finished run leaves it out.
    fn parse(&mut self, lines: &[u8], each: &mut dyn FnMut(&Row<'_>)) {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(lines);
        let mut cells = csv::StringRecord::new();
        while let Ok(true) = reader.read_record(&mut cells) {
            if self.names.is_empty() {
                self.names = cells.iter().map(String::from).collect();
            } else if cells.len() == self.names.len() {
                each(&Row {
                    names: &self.names,
                    cells: &cells,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write as _};

    use super::*;

    #[test]
    fn rows_come_once_each_and_only_when_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut follow = Follow::new(folder.path(), "samples.csv");
        let mut seen = || {
            let mut rows = Vec::new();
            let mut take =
                |row: &Row<'_>| rows.push((row.number("t_s"), row.text("phase").map(String::from)));
            follow.rows(&mut take).unwrap();
            rows
        };
        assert!(seen().is_empty(), "there is no file yet");
        let path = folder.path().join("samples.csv");
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(b"t_s,phase\n1,dose\n2,\"dr").unwrap();
        assert_eq!(seen(), [(Some(1.0), Some("dose".into()))]);
        file.write_all(b"ain\"\n,rest\nbroken\n").unwrap();
        assert_eq!(
            seen(),
            [
                (Some(2.0), Some("drain".into())),
                (None, Some("rest".into()))
            ]
        );
        assert!(seen().is_empty());
    }
}
