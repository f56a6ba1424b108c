//! Dashboard: a run under way, for a browser and for whoever scrapes metrics.
//!
//! In: the run directory as it grows, followed by a thread of its own. Out: one page, a stream of frames, OpenMetrics. Start at
//! [`Dashboard`]. [`state`] is a fold over the rows, [`view`] and [`metrics`] turn it into text; none of them does I/O. [`server`] does.
//!
//! The conductor does not know whether anybody looks: it writes its files, we read them. So nobody who looks can slow it, and a
//! viewer who is slow loses frames and gets the whole picture again. What is kept is bounded: history is thinned, queues are short.
//! Read-only, but for stopping and pausing with a token. Loopback only, unless told; the Host header is checked either way, so
//! that no page from elsewhere can read along by a name that points here.

mod metrics;
mod server;
mod so_far;
mod state;
mod view;

pub use self::server::{Controls, Dashboard, DashboardError, Door};
