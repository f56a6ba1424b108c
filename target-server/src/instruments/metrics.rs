//! `GET /metrics`: the counters as OpenMetrics. Read at scrape time, so the data path counts once.

use std::sync::Arc;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::Counters;

/// The registry behind `GET /metrics`.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry that reads `counters`, and whatever else there is, when asked.
    pub(crate) fn new(
        counters: Arc<Counters>,
        others: impl Iterator<Item = Box<dyn Collector>>,
    ) -> Self {
        let mut registry = Registry::with_prefix("target");
        registry.register_collector(Box::new(Scrape(counters)));
        others.for_each(|other| registry.register_collector(other));
        Self { registry }
    }

    /// The whole exposition.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}

#[derive(Debug)]
struct Scrape(Arc<Counters>);

/// Name, help and how to read it.
type Row = (&'static str, &'static str, fn(&Counters) -> u64);

#[rustfmt::skip] // a table
const TOTALS: [Row; 9] = [
    ("connections_opened", "Connections accepted", |c| c.connections.opened()),
    ("connections_closed", "Connections closed", |c| c.connections.ended()[0]),
    ("connections_refused", "Connections answered 503 at the limit", |c| c.refused.get()),
    ("streams_opened", "Event streams opened", |c| c.streams.opened()),
    ("sessions_created", "Sessions created", |c| c.sessions.opened()),
    ("turns", "Chat answers completed", |c| c.turns.get()),
    ("events", "Events handed to connections", |c| c.events.get()),
    ("dropped_events", "Events lost to slow clients", |c| c.dropped_events.get()),
    ("stream_bytes", "Bytes of event streams handed to connections", |c| c.stream_bytes.get()),
];

const NOW: [Row; 3] = [
    ("connections", "Connections open now", |c| {
        c.connections.live()
    }),
    ("streams", "Event streams open now", |c| c.streams.live()),
    ("sessions", "Sessions alive now", |c| c.sessions.live()),
];

impl Collector for Scrape {
    fn encode(&self, mut out: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let counters = &self.0;
        for (name, help, read) in TOTALS {
            let total = ConstCounter::new(read(counters));
            total.encode(out.encode_descriptor(name, help, None, total.metric_type())?)?;
        }
        for (name, help, read) in NOW {
            let now = ConstGauge::new(i64::try_from(read(counters)).unwrap_or(i64::MAX));
            now.encode(out.encode_descriptor(name, help, None, now.metric_type())?)?;
        }
        by_label(
            &mut out,
            "streams_ended",
            "Event streams ended",
            "outcome",
            counters.outcomes(),
        )?;
        by_label(
            &mut out,
            "sessions_removed",
            "Sessions removed",
            "how",
            counters.removals(),
        )
    }
}

fn by_label(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    values: impl Iterator<Item = (&'static str, u64)>,
) -> Result<(), std::fmt::Error> {
    let mut family = out.encode_descriptor(
        name,
        help,
        None,
        prometheus_client::metrics::MetricType::Counter,
    )?;
    for (value, total) in values {
        ConstCounter::new(total).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}
