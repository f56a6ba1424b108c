//! Where production stands, as a profile writes it: the limit, and how much of everything comes a second.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::units::{ByteSize, Factor, PerSecond};

/// When is the limit reached? Only what was found to leak is carried forward.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Forecast {
    /// `"512 MiB"`, `"cgroup"` (the limit of the target's control group) or `"host"`; if not given, the control group's where it has
    /// one, else the machine's.
    #[serde(default)]
    pub limit: Limit,
    /// What is counted against a limit that is a size.
    #[serde(default)]
    pub of: Account,
    /// Units a second in production: `{ session = 5, fin = 2 }`.
    pub rates: BTreeMap<Unit, PerSecond>,
    /// Streams open in production's busiest hour: their memory is needed beside what leaks.
    #[serde(default)]
    pub connections: u32,
}

/// What must not be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// The limit of the control group, where there is one; else the machine's memory.
    #[default]
    Nearest,
    /// So much.
    Size(ByteSize),
    /// The limit of the target's control group.
    Cgroup,
    /// The machine's memory.
    Host,
}

/// What is counted against a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Account {
    /// Resident memory of the process tree: what a limit mostly means.
    #[default]
    Resident,
    /// The signal that carries the verdict: live bytes, where an allocator tells them.
    Live,
}

/// Something that comes in production: a way of leaving, `session`, `turn`, `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit(pub Factor);

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = String::deserialize(input)?;
        let counted = |factor: &Factor| {
            matches!(
                factor,
                Factor::Closed(_) | Factor::Session | Factor::Turn | Factor::Event
            )
        };
        let factor = name.parse().ok().filter(counted);
        factor.map(Self).ok_or_else(|| {
            de::Error::custom(format!(
                "`{name}` does not come so many a second: a way of leaving (`fin`, `rst`, …), `session`, `turn` or `event` does"
            ))
        })
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        match String::deserialize(input)?.as_str() {
            "nearest" => Ok(Self::Nearest),
            "cgroup" => Ok(Self::Cgroup),
            "host" => Ok(Self::Host),
            size => size.parse().map(Self::Size).map_err(|why: String| {
                de::Error::custom(format!("{why}; or \"cgroup\", \"host\", \"nearest\""))
            }),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nearest => output.serialize_str("nearest"),
            Self::Cgroup => output.serialize_str("cgroup"),
            Self::Host => output.serialize_str("host"),
            Self::Size(size) => size.serialize(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_rates_are_read_back_as_they_were_written() {
        for limit in ["\"512 MiB\"", "\"cgroup\"", "\"host\"", "\"nearest\""] {
            let text = format!("limit = {limit}\nrates = {{ session = 5, half-close = 0.5 }}\n");
            let forecast: Forecast = toml::from_str(&text).unwrap();
            let json = serde_json::to_string(&forecast).unwrap();
            assert_eq!(serde_json::from_str::<Forecast>(&json).unwrap(), forecast);
        }
        for (text, part) in [
            ("rates = { all = 1 }", "does not come"),
            ("rates = { sessions = 1 }", "does not come"),
            ("rates = { session = -1 }", "not a rate"),
            ("limit = \"512\"\nrates = {}", "no unit"),
        ] {
            let message = toml::from_str::<Forecast>(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
