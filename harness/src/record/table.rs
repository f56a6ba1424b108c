//! A CSV file in memory: columns of numbers by name, text columns apart.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

/// A cell that could not be used, and why. Rows are counted from 1 after the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Which row.
    pub row: usize,
    /// Which column, if one.
    pub column: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {}", self.row)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Remembers the last byte that went through: a file that does not end its last line was cut there.
struct Tail<R> {
    input: R,
    last: Option<u8>,
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.last = buffer[..length].last().copied().or(self.last);
        Ok(length)
    }
}

/// A CSV file in memory. A missing number is `NaN`.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: usize,
    /// Which row of the file each is, from 1 after the header.
    lines: Vec<u32>,
    numbers: BTreeMap<String, Vec<f64>>,
    texts: BTreeMap<String, Vec<String>>,
}

impl Table {
    /// Reads a table; columns named in `texts` are text, all others numbers. A row that is cut short, as the last one of
    /// a killed run may be, is left out and complained about.
    ///
    /// # Errors
    /// The input cannot be read, or its header is no header.
    pub fn read(input: impl Read, texts: &[&str]) -> Result<(Self, Vec<Complaint>), csv::Error> {
        let mut tail = Tail { input, last: None };
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(&mut tail);
        let names: Vec<String> = reader.headers()?.iter().map(String::from).collect();
        let mut table = Self::default();
        for name in &names {
            if texts.contains(&name.as_str()) {
                table.texts.insert(name.clone(), Vec::new());
            } else {
                table.numbers.insert(name.clone(), Vec::new());
            }
        }
        let mut complaints = Vec::new();
        let mut record = csv::StringRecord::new();
        let mut row = 0;
        loop {
            row += 1;
            match reader.read_record(&mut record) {
                Ok(false) => break,
                Ok(true) if record.iter().eq(&names) => complaints.push(Complaint {
                    row,
                    column: None,
                    what: "the header once more, as if two files were joined; left out".into(),
                }),
                Ok(true) if record.len() == names.len() => {
                    table.push(row, &names, &record, &mut complaints)
                }
                Ok(true) => {
                    let what = format!(
                        "has {} cells instead of {}; left out",
                        record.len(),
                        names.len()
                    );
                    complaints.push(Complaint {
                        row,
                        column: None,
                        what,
                    });
                }
                Err(error) => complaints.push(Complaint {
                    row,
                    column: None,
                    what: format!("{error}; left out"),
                }),
            }
        }
        drop(reader);
        if tail.last.is_some_and(|last| last != b'\n')
            && table.rows > 0
            && table.line(table.rows - 1) == row - 1
        {
            table.pick(&(0..table.rows - 1).collect::<Vec<usize>>());
            complaints.push(Complaint {
                row: row - 1,
                column: None,
                what: "was never finished, so its last number may lack digits; left out".into(),
            });
        }
        Ok((table, complaints))
    }

    /// Which row of the file a row is, from 1 after the header.
    pub(super) fn line(&self, row: usize) -> usize {
        self.lines.get(row).map_or(0, |line| *line as usize)
    }

    /// The names of the columns of numbers.
    pub(super) fn names(&self) -> Vec<String> {
        self.numbers.keys().cloned().collect()
    }

    /// The texts of a row.
    pub(super) fn words(&self, row: usize) -> Vec<&str> {
        let cells = self.texts.values();
        cells
            .filter_map(|cells| cells.get(row).map(String::as_str))
            .collect()
    }

    /// Keeps these rows, in this order.
    pub(super) fn pick(&mut self, rows: &[usize]) {
        fn picked<T: Clone>(from: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|row| from[*row].clone()).collect()
        }
        self.rows = rows.len();
        self.lines = picked(&self.lines, rows);
        for values in self.numbers.values_mut() {
            *values = picked(values, rows);
        }
        for cells in self.texts.values_mut() {
            *cells = picked(cells, rows);
        }
    }

    /// Takes these numbers as missing.
    pub(super) fn forget(&mut self, name: &str, rows: &[usize]) {
        if let Some(values) = self.numbers.get_mut(name) {
            rows.iter().for_each(|row| values[*row] = f64::NAN);
        }
    }

    fn push(
        &mut self,
        row: usize,
        names: &[String],
        record: &csv::StringRecord,
        complaints: &mut Vec<Complaint>,
    ) {
        self.rows += 1;
        self.lines.push(u32::try_from(row).unwrap_or(u32::MAX));
        for (name, cell) in names.iter().zip(record) {
            if let Some(texts) = self.texts.get_mut(name) {
                texts.push(cell.into());
                continue;
            }
            let value = if cell.is_empty() {
                Some(f64::NAN)
            } else {
                cell.parse().ok().filter(|value: &f64| value.is_finite())
            };
            if value.is_none() {
                complaints.push(Complaint {
                    row,
                    column: Some(name.clone()),
                    what: format!("`{cell}` is not a number; taken as missing"),
                });
            }
            if let Some(numbers) = self.numbers.get_mut(name) {
                numbers.push(value.unwrap_or(f64::NAN));
            }
        }
    }

    /// Rows read.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// A column of numbers; `None` if there is no such column.
    pub fn numbers(&self, name: &str) -> Option<&[f64]> {
        self.numbers.get(name).map(Vec::as_slice)
    }

    /// A column of text; `None` if there is no such column.
    pub fn texts(&self, name: &str) -> Option<&[String]> {
        self.texts.get(name).map(Vec::as_slice)
    }

    /// One number; `None` if the column or the value is missing.
    pub fn number(&self, name: &str, row: usize) -> Option<f64> {
        self.numbers
            .get(name)?
            .get(row)
            .copied()
            .filter(|value| value.is_finite())
    }

    /// One text.
    pub fn text(&self, name: &str, row: usize) -> Option<&str> {
        self.texts.get(name)?.get(row).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_cut_short_is_left_out_and_said() {
        let (table, complaints) = Table::read(
            "t_s,phase,rss_bytes\n1,dose,4096\n2,dose\n".as_bytes(),
            &["phase"],
        )
        .unwrap();
        assert_eq!(table.rows(), 1);
        assert_eq!(
            complaints[0].to_string(),
            "row 2: has 2 cells instead of 3; left out"
        );
    }

    #[test]
    fn a_missing_number_is_missing_and_a_broken_one_is_said() {
        let (table, complaints) =
            Table::read("t_s,rss_bytes\n1,\n2,many\n3,5\n".as_bytes(), &[]).unwrap();
        assert_eq!(
            [0, 1, 2].map(|row| table.number("rss_bytes", row)),
            [None, None, Some(5.0)]
        );
        assert_eq!(complaints.len(), 1);
    }
}
