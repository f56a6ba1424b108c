//! What changed from one profile to another, stack by stack.

use serde::{Deserialize, Serialize};

use super::{Allocations, Row, Table};
use crate::profile::Unit;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was not there.
    New,
    /// It keeps more, and the intervals do not overlap.
    Grew,
    /// It keeps less, and the intervals do not overlap.
    Shrank,
    /// It is not there any more.
    Gone,
    /// Neither more nor less can be said.
    Unchanged,
    /// The other run has no window of this unit.
    NotCompared,
}

impl Change {
    /// The name used in reports and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Grew => "grew",
            Self::Shrank => "shrank",
            Self::Gone => "gone",
            Self::Unchanged => "unchanged",
            Self::NotCompared => "not compared",
        }
    }

    /// Whether a reviewer should stop.
    pub const fn is_worse(self) -> bool {
        matches!(self, Self::New | Self::Grew)
    }
}

/// One row, before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// The unit.
    pub of: Unit,
    /// What happened.
    pub change: Change,
    /// As it was.
    pub before: Option<Row>,
    /// As it is.
    pub after: Option<Row>,
    /// Whether a line of the change is on its stack; `None`: nobody asked.
    pub on_changed_lines: Option<bool>,
}

impl Changed {
    /// The row as it is, or as it was.
    pub fn row(&self) -> &Row {
        self.after
            .as_ref()
            .or(self.before.as_ref())
            .expect("a change is of a row")
    }
}

/// Every row of both profiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// The rows, the worst change first.
    pub rows: Vec<Changed>,
}

/// Lays two profiles beside one another, unit by unit.
pub fn compare(before: &Allocations, after: &Allocations) -> Review {
    let of = |all: &Allocations, unit: Unit| {
        let found = all.windows.iter().find(|table| table.of == unit);
        found.cloned()
    };
    let mut rows: Vec<Changed> = Vec::new();
    for table in &after.windows {
        match of(before, table.of) {
            Some(was) => rows.extend(tables(&was, table)),
            None => rows.extend(table.rows.iter().map(|row| Changed {
                of: table.of,
                change: Change::NotCompared,
                before: None,
                after: Some(row.clone()),
                on_changed_lines: None,
            })),
        }
    }
    let weight = |changed: &Changed| changed.row().kept.bytes;
    rows.sort_by(|a, b| {
        a.change
            .cmp(&b.change)
            .then(weight(b).total_cmp(&weight(a)))
    });
    Review { rows }
}

fn tables(before: &Table, after: &Table) -> Vec<Changed> {
    let find = |table: &Table, row: &Row| {
        let mut rows = table.rows.iter();
        rows.find(|other| other.fingerprint == row.fingerprint)
            .cloned()
    };
    let changed = |change, was: Option<Row>, is: Option<Row>| Changed {
        of: after.of,
        change,
        before: was,
        after: is,
        on_changed_lines: None,
    };
    let now = after.rows.iter().map(|row| {
        let was = find(before, row);
        changed(
            change(was.as_ref(), row, before.bound_bytes),
            was,
            Some(row.clone()),
        )
    });
    let gone = before.rows.iter().filter(|row| find(after, row).is_none());
    let gone = gone.map(|row| changed(Change::Gone, Some(row.clone()), None));
    now.chain(gone).collect()
}

/// A row that could have hidden below the other run's bound is not new.
fn change(before: Option<&Row>, after: &Row, bound: f64) -> Change {
    match before {
        None if after.kept.low > bound => Change::New,
        None => Change::Unchanged,
        Some(before) if after.kept.low > before.kept.high => Change::Grew,
        Some(before) if after.kept.high < before.kept.low => Change::Shrank,
        Some(_) => Change::Unchanged,
    }
}
