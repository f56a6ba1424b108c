//! A metric with one label per client: `GET /metrics` gets a line for everybody who was ever here.
//!
//! Truth: the node and the text of the label, which has the same length for everybody: together 64 bytes if nothing else is asked for.

use std::{
    collections::LinkedList,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

use super::{Kind, Leak, Plant};
use crate::stream::Sender;

pub(super) const KIND: Kind = Kind {
    name: "metric-label-per-client",
    unit: Some("all"),
    strikes_per_unit: 1,
    least_bytes: Some(64),
    text: "A metric keeps one label per stream for ever; bytes per stream, however it ends.",
    plant: |plant| {
        Box::new(Labels {
            plant,
            clients: Arc::default(),
        })
    },
};

const PREFIX: &str = "client-";

/// Bytes of a label if nothing else is asked for.
const LABEL: usize = 27;

type Clients = Arc<Mutex<LinkedList<Box<str>>>>;

struct Labels {
    plant: Plant,
    clients: Clients,
}

impl Leak for Labels {
    fn stream_opened(&self, _: &Sender) {
        if self.plant.strikes() {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            let node = self.plant.node::<Box<str>>();
            let width = self.plant.size(node + LABEL) - node - PREFIX.len();
            let label: Box<str> = format!("{PREFIX}{:0width$}", clients.len()).into();
            self.plant
                .took(self.plant.node::<Box<str>>() + self.plant.bytes(label.len()));
            clients.push_back(label);
        }
    }

    fn collector(&self) -> Option<Box<dyn Collector>> {
        Some(Box::new(Scrape(Arc::clone(&self.clients))))
    }
}

struct Scrape(Clients);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Event streams opened, by client";
        let mut family =
            out.encode_descriptor("client_streams", help, None, MetricType::Counter)?;
        for client in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            ConstCounter::new(1u64).encode(family.encode_family(&[("client", &**client)])?)?;
        }
        Ok(())
    }
}
