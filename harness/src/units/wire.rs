//! How a slow way to a client is written: so many bytes a second, so long without any every so often.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ByteSize, Period};

/// Bytes a second, never none: `"16 KiB/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate(NonZeroU32);

impl ByteRate {
    /// Bytes a second.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// How long so many bytes take.
    pub fn time_for(self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / u64::from(self.get()))
    }
}

impl From<NonZeroU32> for ByteRate {
    fn from(bytes_per_second: NonZeroU32) -> Self {
        Self(bytes_per_second)
    }
}

impl FromStr for ByteRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let complaint = || format!("`{text}` is not a rate: write \"500 B/s\" or \"16 KiB/s\"");
        let size = text.trim().strip_suffix("/s").ok_or_else(complaint)?;
        let ByteSize(bytes) = size.parse().map_err(|_| complaint())?;
        let rate = u32::try_from(bytes)
            .map_err(|_| format!("`{text}` is more than 4 GiB/s: leave it out"))?;
        NonZeroU32::new(rate).map(Self).ok_or_else(|| {
            "a rate of zero never ends: for a client that does not read, leave by `stall`".into()
        })
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} B/s", self.0))
    }
}

/// A way through tunnels: of every so long, the last so long passes nothing. `"10s every 60s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    lasts: Duration,
    every: Duration,
}

impl Tunnel {
    /// Until when nothing passes; `None` outside of a tunnel. Counts from when the way began.
    pub fn ends(self, on_the_way: Duration) -> Option<Duration> {
        let round = on_the_way.as_nanos() / self.every.as_nanos();
        let began = self.every.as_nanos() * round;
        let is_inside =
            on_the_way.as_nanos() - began >= (self.every.saturating_sub(self.lasts)).as_nanos();
        let end = u64::try_from(began + self.every.as_nanos()).unwrap_or(u64::MAX);
        is_inside.then(|| Duration::from_nanos(end))
    }

    /// How long one lasts.
    pub const fn lasts(self) -> Duration {
        self.lasts
    }
}

impl FromStr for Tunnel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (lasts, every) = text
            .split_once("every")
            .ok_or_else(|| format!("`{text}` is no tunnel: write \"10s every 60s\""))?;
        let (lasts, every) = (
            lasts.trim().parse::<Period>()?.get(),
            every.trim().parse::<Period>()?.get(),
        );
        if lasts >= every {
            return Err(format!(
                "`{text}` never leaves the tunnel: it must be shorter than what it repeats after"
            ));
        }
        Ok(Self { lasts, every })
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = humantime::format_duration;
        f.pad(&format!(
            "{} every {}",
            period(self.lasts),
            period(self.every)
        ))
    }
}

macro_rules! written_as_text {
    ($($kind:ty),*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.collect_str(self)
            }
        }
    )*};
}

written_as_text!(ByteRate, Tunnel);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let rate: ByteRate = "16 KiB/s".parse().unwrap();
        assert_eq!((rate.get(), rate.to_string()), (16384, "16384 B/s".into()));
        assert_eq!(rate.to_string().parse(), Ok(rate));
        assert_eq!(rate.time_for(4096), Duration::from_millis(250));
        let tunnel: Tunnel = "10s every 1m".parse().unwrap();
        assert_eq!(tunnel.to_string(), "10s every 1m");
        for wrong in ["16 KiB", "0 B/s", "16/s", "9 GiB/s"] {
            assert!(wrong.parse::<ByteRate>().is_err(), "{wrong}");
        }
        for wrong in ["10s", "60s every 60s", "0s every 1s", "x every y"] {
            assert!(wrong.parse::<Tunnel>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tunnel_is_the_end_of_every_round() {
        let tunnel: Tunnel = "3s every 10s".parse().unwrap();
        let secs = Duration::from_secs;
        for (at, ends) in [
            (0, None),
            (6, None),
            (7, Some(10)),
            (9, Some(10)),
            (10, None),
            (29, Some(30)),
        ] {
            assert_eq!(tunnel.ends(secs(at)), ends.map(secs), "at {at} s");
        }
    }
}
