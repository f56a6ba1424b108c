//! DHAT's JSON, version 2, as dhat-rs writes it: what was allocated in a window and is live at its end, exactly.

use std::io::Read;

use serde::Deserialize;

use super::symbols::Found;

/// A profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Who allocated what is live.
    pub stacks: Vec<Live>,
}

/// What one stack left live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Address, and what the profiler itself says of it; the innermost first. Inlined functions share an address.
    pub frames: Vec<(u64, String)>,
    /// Blocks.
    pub blocks: u64,
    /// Bytes, as they were asked for.
    pub bytes: u64,
}

/// Why a file is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum DhatError {
    /// It is no JSON, or not this one.
    #[error("it is no DHAT profile, or is cut short")]
    NotDhat(#[from] serde_json::Error),
    /// Another version.
    #[error("it is a DHAT profile of version {0}; version 2 is read")]
    Version(u64),
    /// It does not tell what is live at the end.
    #[error("it has no `eb` and `ebk`: only a heap profile tells what is live at its end")]
    NoLifetimes,
}

#[derive(Deserialize)]
struct Json {
    #[serde(rename = "dhatFileVersion")]
    version: u64,
    bklt: bool,
    pps: Vec<Point>,
    ftbl: Vec<String>,
}

#[derive(Deserialize)]
struct Point {
    #[serde(default)]
    eb: u64,
    #[serde(default)]
    ebk: u64,
    fs: Vec<usize>,
}

/// Reads a profile.
///
/// # Errors
/// It is none, is cut short, or does not tell what is live.
pub fn read(input: impl Read) -> Result<Profile, DhatError> {
    let json: Json = serde_json::from_reader(input)?;
    if json.version != 2 {
        return Err(DhatError::Version(json.version));
    }
    if !json.bklt {
        return Err(DhatError::NoLifetimes);
    }
    let frame = |place: &usize| json.ftbl.get(*place).map(|text| address_and_words(text));
    let live = json.pps.iter().filter(|point| point.ebk > 0);
    let stacks = live.map(|point| Live {
        frames: point.fs.iter().filter_map(frame).collect(),
        blocks: point.ebk,
        bytes: point.eb,
    });
    Ok(Profile {
        stacks: stacks.collect(),
    })
}

/// `0x55d0: server::enter (src/sessions.rs:41:9)`; the root has no address.
fn address_and_words(text: &str) -> (u64, String) {
    let parted = text.split_once(": ");
    let address = parted
        .and_then(|(address, _)| u64::from_str_radix(address.strip_prefix("0x")?, 16).ok())
        .unwrap_or(0);
    (address, parted.map_or(text, |(_, words)| words).into())
}

/// A frame as the profiler itself says it: `server::enter (src/sessions.rs:41:9)`.
pub(super) fn said(words: &str) -> Found {
    let (function, place) = words
        .strip_suffix(')')
        .and_then(|words| words.rsplit_once(" ("))
        .map_or((words, None), |(function, place)| (function, Some(place)));
    let mut parts = place
        .map(|place| place.rsplitn(3, ':'))
        .into_iter()
        .flatten();
    let (_column, line, file) = (parts.next(), parts.next(), parts.next());
    Found {
        function: super::names::shortened(function),
        file: file.map(String::from),
        line: line.and_then(|line| line.parse().ok()),
        folder: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"dhatFileVersion":2,"mode":"rust-heap","verb":"Allocated","bklt":true,"bkacc":false,
        "pps":[{"tb":900,"tbk":3,"tl":1,"mb":900,"mbk":3,"gb":900,"gbk":3,"eb":600,"ebk":2,"fs":[1,2]},
               {"tb":64,"tbk":1,"tl":1,"mb":64,"mbk":1,"gb":0,"gbk":0,"eb":0,"ebk":0,"fs":[1]}],
        "ftbl":["[root]","0x55d0: server::enter (src/sessions.rs:41:9)","0x55e0: server::answer (src/routes.rs:7:1)"]}"#;

    #[test]
    fn only_what_is_live_at_the_end_counts() {
        let profile = read(SMALL.as_bytes()).unwrap();
        assert_eq!(profile.stacks.len(), 1);
        let stack = &profile.stacks[0];
        assert_eq!((stack.blocks, stack.bytes), (2, 600));
        assert_eq!(stack.frames[0].0, 0x55d0);
        let found = said(&stack.frames[0].1);
        assert_eq!(
            (found.function.as_str(), found.file.as_deref(), found.line),
            ("server::enter", Some("src/sessions.rs"), Some(41))
        );
    }

    #[test]
    fn what_is_no_dhat_heap_profile_is_refused() {
        for (from, to, part) in [
            (
                "\"dhatFileVersion\":2",
                "\"dhatFileVersion\":3",
                "version 3",
            ),
            ("\"bklt\":true", "\"bklt\":false", "no `eb`"),
            ("]}", "", "cut short"),
        ] {
            let text = SMALL.replacen(from, to, 1);
            let said = read(text.as_bytes()).map_err(|error| error.to_string());
            assert!(
                said.as_ref().is_err_and(|said| said.contains(part)),
                "{said:?}"
            );
        }
    }
}
