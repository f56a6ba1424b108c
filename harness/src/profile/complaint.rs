//! What is wrong with a profile: file, line, column, and what is allowed.

use std::io;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file could not be read.
    #[error("cannot read the profile {file}")]
    Unreadable {
        /// The path as given.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{file}: {source}")]
    Malformed {
        /// The path as given.
        file: String,
        /// Line, column, the line itself, and what was expected.
        source: Box<toml::de::Error>,
    },
    /// Well-formed, but it contradicts itself.
    #[error("{file}, line {line}, column {column}: {message}")]
    Contradiction {
        /// The path as given.
        file: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong, and what is allowed.
        message: String,
    },
}

impl ProfileError {
    /// A contradiction at a byte offset of the text.
    pub(super) fn at(file: &str, text: &str, offset: usize, message: String) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |last| last.chars().count())
            + 1;
        Self::Contradiction {
            file: file.into(),
            line,
            column,
            message,
        }
    }
}
