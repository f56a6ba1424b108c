//! The client that people write: reqwest and eventsource-stream on tokio's threads, one task a stream.
//!
//! ```text
//! bench-reqwest hold  PORT STREAMS RAMP_MS LENGTH_MS
//! bench-reqwest churn PORT RATE LENGTH_MS fin
//! ```
//!
//! It cannot leave by RST: reqwest does not give its sockets away.

use std::{
    error::Error,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use reqwest::{Client, header::ACCEPT};
use signal_hook::consts::SIGTERM;
use tokio::time::{Instant, sleep_until};

/// How long the last ones of a churn may take.
const LINGER: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    closed: AtomicU64,
    events: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (port, count, over, length, leaves) = match arguments[..] {
        ["hold", port, streams, ramp, length] => {
            let (ramp, length): (u64, u64) = (ramp.parse()?, length.parse()?);
            (port, streams.parse::<u64>()?, ramp, length, false)
        }
        ["churn", port, rate, length, "fin"] => {
            let length: u64 = length.parse()?;
            (
                port,
                rate.parse::<u64>()? * length / 1000,
                length,
                length,
                true,
            )
        }
        _ => return Err("usage: see the top of harness/bench/reqwest.rs".into()),
    };
    let url = format!("http://127.0.0.1:{port}/events");
    let client = Client::builder().no_proxy().build()?;
    let counts = Arc::new(Counts::default());
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&stop))?;
    let began = now();
    let over = Duration::from_millis(over);
    for number in 0..count {
        if stop.load(Relaxed) {
            break;
        }
        sleep_until(began + over.mul_f64(number as f64 / count as f64)).await;
        let (client, url, counts) = (client.clone(), url.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            counts.opened.fetch_add(1, Relaxed);
            if let Err(error) = listen(&client, &url, leaves, &counts).await {
                writeln!(io::stderr(), "{error}").ok();
            }
            counts.closed.fetch_add(1, Relaxed);
        });
    }
    let linger = if leaves { LINGER } else { Duration::ZERO };
    let end = began + Duration::from_millis(length) + linger;
    while now() < end && !stop.load(Relaxed) && counts.closed.load(Relaxed) < count {
        sleep_until(now() + Duration::from_millis(20)).await;
    }
    let [opened, closed, events] =
        [&counts.opened, &counts.closed, &counts.events].map(|count| count.load(Relaxed));
    writeln!(
        io::stdout(),
        r#"{{"opened":{opened},"closed":{closed},"events":{events}}}"#
    )?;
    Ok(())
}

/// Reads one stream: to its first event, or to its end.
async fn listen(
    client: &Client,
    url: &str,
    leaves: bool,
    counts: &Counts,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let request = client.get(url).header(ACCEPT, "text/event-stream");
    let response = request.send().await?.error_for_status()?;
    let mut events = response.bytes_stream().eventsource();
    while let Some(event) = events.next().await {
        event?;
        counts.events.fetch_add(1, Relaxed);
        if leaves {
            break;
        }
    }
    Ok(())
}

fn now() -> Instant {
    Instant::now()
}
