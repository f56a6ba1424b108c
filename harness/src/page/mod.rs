//! Page: what a browser shows, whoever made it: the shell of a page, its one style, its drawing code, and packed series.
//!
//! In: text and numbers. Out: HTML that needs nothing from anywhere. Start at [`Document`]. [`mod@packed`] is how a day of samples
//! fits into a page. Text of others (a profile's name, an answer of a server) goes through [`escaped`] or [`foreign`], always.
//! Knows neither recordings nor findings: the report and the dashboard do.

mod escape;
mod packed;
mod shell;

pub use self::{
    escape::{escaped, foreign, json, visible},
    packed::{Packed, Precision, packed, within},
    shell::{DASHBOARD_SCRIPT, Document, REPORT_SCRIPT},
};
