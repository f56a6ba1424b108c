//! What can be told of a damaged table without knowing what it means: rows out of order, twice, with numbers that cannot be.
//!
//! Nothing is guessed: a row is put in its place or left out, a number that cannot be is missing, and each is said with row and column.

use super::table::{Complaint, Table};

/// Columns that name a thing rather than count it, and may be below zero.
const SIGNED: [&str; 1] = ["cycle"];

/// Totals that begin anew with a process of the target, or with its control group: they may fall.
fn may_fall(name: &str) -> bool {
    name.starts_with("target_") || name.starts_with("cgroup_") || name.starts_with("processes_")
}

/// Whether a column only ever rises.
fn only_rises(name: &str) -> bool {
    (name.ends_with("_total") && !may_fall(name)) || name.starts_with("exposure_")
}

impl Table {
    /// Puts rows in order of time, and leaves out what cannot be.
    pub(super) fn mend(&mut self, complaints: &mut Vec<Complaint>) {
        if self.numbers("t_s").is_none() {
            return;
        }
        self.keep_times(complaints);
        self.sort(complaints);
        self.keep_first_of_two(complaints);
        self.keep_rising_cycles(complaints);
        for name in self.names() {
            self.refuse_negative(&name, complaints);
            if only_rises(&name) {
                self.refuse_falling(&name, complaints);
            }
        }
    }

    fn complain(&self, row: usize, column: Option<&str>, what: impl Into<String>) -> Complaint {
        Complaint {
            row: self.line(row),
            column: column.map(String::from),
            what: what.into(),
        }
    }

    /// A row without a time belongs nowhere.
    fn keep_times(&mut self, complaints: &mut Vec<Complaint>) {
        let has_time = |row: &usize| self.number("t_s", *row).is_some_and(|time| time >= 0.0);
        let (kept, out): (Vec<usize>, Vec<usize>) = (0..self.rows()).partition(has_time);
        for row in &out {
            complaints.push(self.complain(*row, Some("t_s"), "no time; row left out"));
        }
        if !out.is_empty() {
            self.pick(&kept);
        }
    }

    fn sort(&mut self, complaints: &mut Vec<Complaint>) {
        let times = self.numbers("t_s").unwrap_or_default();
        if times.is_sorted() {
            return;
        }
        let stay = longest_rising(times, |one, next| one <= next);
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by(|one, other| times[*one].total_cmp(&times[*other])); // stable
        for row in (0..times.len()).filter(|row| !stay[*row]) {
            let what = "not in order of time; put in its place";
            complaints.push(self.complain(row, Some("t_s"), what));
        }
        self.pick(&order);
    }

    /// The same time and the same words: written twice.
    fn keep_first_of_two(&mut self, complaints: &mut Vec<Complaint>) {
        let is_second = |row: usize| row > 0 && self.is_same(row - 1, row);
        let out: Vec<usize> = (0..self.rows()).filter(|row| is_second(*row)).collect();
        for row in &out {
            complaints.push(self.complain(*row, None, "second row for this time; left out"));
        }
        self.leave_out(&out);
    }

    fn is_same(&self, one: usize, other: usize) -> bool {
        let same = |name: &str| self.number(name, one) == self.number(name, other);
        ["t_s", "cycle"].into_iter().all(same) && self.words(one) == self.words(other)
    }

    /// Readings at the ends of cycles come in the order of the cycles, each once.
    fn keep_rising_cycles(&mut self, complaints: &mut Vec<Complaint>) {
        let rows: Vec<usize> = (0..self.rows())
            .filter(|row| self.text("kind", *row) == Some("cycle"))
            .filter(|row| self.number("cycle", *row).is_some())
            .collect();
        let cycles: Vec<f64> = rows
            .iter()
            .filter_map(|row| self.number("cycle", *row))
            .collect();
        let rises = longest_rising(&cycles, |one, next| one < next);
        let out: Vec<usize> = rows
            .iter()
            .zip(rises)
            .filter(|(_, rises)| !rises)
            .map(|(row, _)| *row)
            .collect();
        for row in &out {
            let what = "not in the order of cycles; row left out";
            complaints.push(self.complain(*row, Some("cycle"), what));
        }
        self.leave_out(&out);
    }

    fn leave_out(&mut self, out: &[usize]) {
        if out.is_empty() {
            return;
        }
        let kept = (0..self.rows()).filter(|row| out.binary_search(row).is_err());
        self.pick(&kept.collect::<Vec<usize>>());
    }

    fn refuse_negative(&mut self, name: &str, complaints: &mut Vec<Complaint>) {
        if SIGNED.contains(&name) {
            return;
        }
        let values = self.numbers(name).unwrap_or_default();
        let below = |row: &usize| values[*row] < 0.0;
        let out: Vec<usize> = (0..values.len()).filter(below).collect();
        let what = "below zero; taken as missing";
        self.refuse(name, &out, what, complaints);
    }

    /// A total never falls. Of those that do, as few as possible are blamed: one digit too many condemns one row and not all after it.
    fn refuse_falling(&mut self, name: &str, complaints: &mut Vec<Complaint>) {
        let values = self.numbers(name).unwrap_or_default();
        let known: Vec<usize> = (0..values.len())
            .filter(|row| values[*row].is_finite())
            .collect();
        let seen: Vec<f64> = known.iter().map(|row| values[*row]).collect();
        if seen.is_sorted() {
            return;
        }
        let rises = longest_rising(&seen, |one, next| one <= next);
        let out: Vec<usize> = known
            .iter()
            .zip(rises)
            .filter(|(_, rises)| !rises)
            .map(|(row, _)| *row)
            .collect();
        let what = "a total that falls, or that later ones fall from; taken as missing";
        self.refuse(name, &out, what, complaints);
    }

    fn refuse(&mut self, name: &str, rows: &[usize], what: &str, complaints: &mut Vec<Complaint>) {
        for row in rows {
            complaints.push(self.complain(*row, Some(name), what));
        }
        self.forget(name, rows);
    }
}

/// Which values are of the longest part that rises; `rises` says whether one may be followed by another. `n log n`.
fn longest_rising(values: &[f64], rises: impl Fn(f64, f64) -> bool) -> Vec<bool> {
    let mut ends: Vec<usize> = Vec::new(); // the end of the best part of each length
    let mut before: Vec<Option<usize>> = Vec::with_capacity(values.len());
    for (place, value) in values.iter().enumerate() {
        let length = ends.partition_point(|end| rises(values[*end], *value));
        before.push(length.checked_sub(1).map(|last| ends[last]));
        if length == ends.len() {
            ends.push(place);
        } else {
            ends[length] = place;
        }
    }
    let mut is_of_it = vec![false; values.len()];
    let mut now = ends.last().copied();
    while let Some(place) = now {
        is_of_it[place] = true;
        now = before[place];
    }
    is_of_it
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(text: &str) -> (Table, Vec<String>) {
        let (mut table, mut complaints) = Table::read(text.as_bytes(), &["kind"]).unwrap();
        table.mend(&mut complaints);
        let said = complaints.iter().map(ToString::to_string).collect();
        (table, said)
    }

    #[test]
    fn as_few_as_possible_are_blamed() {
        for (values, kept) in [
            (&[1.0, 2.0, 3.0][..], &[true, true, true][..]),
            (&[1.0, 900.0, 2.0, 3.0], &[true, false, true, true]),
            (&[5.0, 6.0, 1.0, 7.0], &[true, true, false, true]),
            (&[2.0, 2.0, 1.0, 2.0], &[true, true, false, true]),
            (&[], &[]),
        ] {
            assert_eq!(longest_rising(values, |a, b| a <= b), kept, "{values:?}");
        }
    }

    #[test]
    fn damage_is_named_with_row_and_column_and_costs_no_more_than_it_must() {
        let (table, said) = mended(
            "t_s,kind,cycle,rss_bytes,events_total,target_events_total\n\
             1,cycle,0,10,5,5\n\
             3,cycle,2,-10,7,7\n\
             2,cycle,1,10,6,6\n\
             3,cycle,2,10,7,7\n\
             ,cycle,3,10,8,8\n\
             5,cycle,0,10,9,9\n\
             6,cycle,4,10,900,1\n\
             7,cycle,5,10,11,2\n",
        );
        assert_eq!(
            said,
            [
                "row 5, column t_s: no time; row left out",
                "row 2, column t_s: not in order of time; put in its place",
                "row 4: second row for this time; left out",
                "row 6, column cycle: not in the order of cycles; row left out",
                "row 7, column events_total: a total that falls, or that later ones fall from; taken as missing",
                "row 2, column rss_bytes: below zero; taken as missing",
            ]
        );
        let times: Vec<f64> = table.numbers("t_s").unwrap().to_vec();
        assert_eq!(times, [1.0, 2.0, 3.0, 6.0, 7.0]);
        assert_eq!(table.number("rss_bytes", 2), None);
        assert_eq!(table.number("target_events_total", 3), Some(1.0));
    }

    #[test]
    fn a_whole_table_is_left_as_it_is() {
        let text = "t_s,kind,cycle,events_total\n1,cycle,-1,0\n2,rest-start,0,0\n3,cycle,0,4\n";
        let (table, said) = mended(text);
        assert_eq!((table.rows(), said.len()), (3, 0));
    }
}
