//! Diagnose, the mathematics: it has never heard of memory, connections or servers.
//!
//! In: a response, columns beside it, one row per reading. Out: slopes with covariance ([`Fit`]), tail probabilities,
//! quantiles, medians. Start at [`Engine`]; [`order`] is the shortest. Everything is a pure function of its arguments.
//! Cost: a model of 22 columns on 288 rows (a day in blocks of five minutes) takes well under a millisecond.
//! Never decides what a number means: that is the rest of [`diagnose`](crate::diagnose).

pub mod cosines;
mod engine;
mod fit;
mod local_level;
mod matrix;
pub mod order;
pub mod poisson;
pub mod sequence;
pub mod student;

pub use engine::{Engine, Levels};
pub use fit::{Estimate, Fit};
