//! Diagnose: judges a recording.
