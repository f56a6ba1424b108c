//! The target's own counters, asked of its admin listener. Missing fields are `None`; a wrong shape is a sentence.

use std::{fmt, time::Duration};

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::sample::{Heap, TargetReport};
use crate::units::ByteSize;

/// Where the target tells about itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Admin {
    /// `http://127.0.0.1:9090`; the scheme may be left out.
    pub url: String,
    /// The bearer token.
    pub token: String,
}

impl fmt::Debug for Admin {
    /// Without the token: debug output ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What the target kept when it was told to: the positive control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Allocations kept.
    pub blocks: u64,
    /// Bytes kept.
    pub bytes: u64,
}

/// Why the target did not tell.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address makes no sense.
    #[error("`{url}` is not an address to ask")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// The HTTP client does not start, or the exchange broke.
    #[error("{what} of the target's admin listener failed")]
    Exchange {
        /// Method and path.
        what: Ask,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// It took too long.
    #[error("{what} of the target's admin listener was not answered within {} ms", within.as_millis())]
    TimedOut {
        /// Method and path.
        what: Ask,
        /// How long was waited.
        within: Duration,
    },
    /// It refused.
    #[error("{what} of the target's admin listener was answered with {status}{}{said}", hint(*status))]
    Status {
        /// Method and path.
        what: Ask,
        /// The answer.
        status: StatusCode,
        /// The reason that it gave, after a colon; empty if none.
        said: String,
    },
    /// What it sent cannot be kept.
    #[error("the answer to {what} of the target's admin listener cannot be written")]
    Unwritten {
        /// Method and path.
        what: Ask,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It sent more than such an answer can be.
    #[error("{what} of the target's admin listener was answered with more than {limit}")]
    TooLarge {
        /// Method and path.
        what: Ask,
        /// What is read at most.
        limit: ByteSize,
    },
    /// It sent something else than JSON.
    #[error("{what} of the target's admin listener was not answered with JSON")]
    NotJson {
        /// Method and path.
        what: Ask,
        /// Where it stopped being JSON.
        #[source]
        source: serde_json::Error,
    },
    /// A value is not what it is called.
    #[error("the target's `{field}` should be a whole number, found `{found}`")]
    Shape {
        /// Dotted path.
        field: String,
        /// What is there.
        found: String,
    },
    /// A value that must be there is not.
    #[error("the target's answer to {what} has no `{field}`")]
    Missing {
        /// Method and path.
        what: Ask,
        /// Dotted path.
        field: &'static str,
    },
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            " (is the token the one of this server?)"
        }
        StatusCode::NOT_FOUND => " (is this the admin listener?)",
        _ => "",
    }
}

/// What is asked of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Its counters.
    Status,
    /// To tidy up, and say what its heap is then.
    Settle,
    /// To keep memory.
    Retain,
    /// To let go of it again.
    Release,
    /// To sample allocations from now on, and to forget what was sampled before.
    ProfileStart,
    /// What was sampled since and is live: a heap profile.
    Profile,
    /// To note every allocation from now on.
    DhatStart,
    /// What was allocated since and is live, exactly; ends the noting.
    DhatStop,
}

impl Ask {
    const fn parts(self) -> (Method, &'static str) {
        match self {
            Self::Status => (Method::GET, "/v1/status"),
            Self::Settle => (Method::POST, "/v1/heap/settle"),
            Self::Retain => (Method::POST, "/v1/retain"),
            Self::Release => (Method::POST, "/v1/release"),
            Self::ProfileStart => (Method::POST, "/v1/heap/profile/start"),
            Self::Profile => (Method::GET, "/v1/heap/profile"),
            Self::DhatStart => (Method::POST, "/v1/dhat/start"),
            Self::DhatStop => (Method::POST, "/v1/dhat/stop"),
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, path) = self.parts();
        write!(f, "{method} {path}")
    }
}

/// An open line to the admin listener. One connection, kept alive: a new one each second would be load.
#[derive(Debug)]
pub(super) struct AdminLine {
    client: Client,
    admin: Admin,
}

const BODY_LIMIT: ByteSize = ByteSize(1 << 20);
/// The largest profile that is taken: one of 100 MB was seen on a server with many distinct stacks.
const PROFILE_LIMIT: ByteSize = ByteSize(512 << 20);
/// The most that is read of why something was refused.
const REASON_LIMIT: ByteSize = ByteSize(4 << 10);

impl AdminLine {
    pub(super) fn to(admin: Admin) -> Result<Self, AdminError> {
        let bad = || AdminError::BadUrl {
            url: admin.url.clone(),
        };
        let with_scheme = if admin.url.contains("://") {
            admin.url.clone()
        } else {
            format!("http://{}", admin.url)
        };
        let url = reqwest::Url::parse(&with_scheme).map_err(|_| bad())?;
        if url.scheme() != "http" || url.host().is_none() {
            return Err(bad());
        }
        let client = Client::builder()
            .no_proxy() // a proxy of the environment has no business between us and the target
            .redirect(reqwest::redirect::Policy::none()) // the token goes nowhere else
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true)
            .build()
            .map_err(|source| AdminError::Exchange {
                what: Ask::Status,
                source,
            })?;
        let url = with_scheme.trim_end_matches('/').to_owned();
        Ok(Self {
            client,
            admin: Admin { url, ..admin },
        })
    }

    /// Asks, and waits for the whole answer at most this long. An unanswered request is given up by closing the connection.
    pub(super) async fn ask(
        &self,
        what: Ask,
        body: Option<Value>,
        within: Duration,
    ) -> Result<Value, AdminError> {
        tokio::time::timeout(within, self.exchange(what, body))
            .await
            .unwrap_or(Err(AdminError::TimedOut { what, within }))
    }

    async fn exchange(&self, what: Ask, body: Option<Value>) -> Result<Value, AdminError> {
        let mut response = self.send(what, body).await?;
        let mut bytes = Vec::new();
        pour(what, &mut response, &mut bytes, BODY_LIMIT).await?;
        if bytes.is_empty() {
            return Ok(Value::Null); // 204: done, nothing to say
        }
        serde_json::from_slice(&bytes).map_err(|source| AdminError::NotJson { what, source })
    }

    /// Asks for something large, and writes it where it is to be kept as it comes; how many bytes it was.
    pub(super) async fn fetch(
        &self,
        what: Ask,
        keep: &mut impl std::io::Write,
        within: Duration,
    ) -> Result<u64, AdminError> {
        let fetched = async {
            let mut response = self.send(what, None).await?;
            pour(what, &mut response, keep, PROFILE_LIMIT).await
        };
        tokio::time::timeout(within, fetched)
            .await
            .unwrap_or(Err(AdminError::TimedOut { what, within }))
    }

    async fn send(&self, what: Ask, body: Option<Value>) -> Result<Response, AdminError> {
        let (method, path) = what.parts();
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.admin.url))
            .bearer_auth(&self.admin.token);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|source| broke(what, source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let mut said = Vec::new();
        // What it says beside the status is a help, and nothing depends on it.
        pour(what, &mut response, &mut said, REASON_LIMIT)
            .await
            .ok();
        Err(AdminError::Status {
            what,
            status,
            said: reason(&said),
        })
    }
}

fn broke(what: Ask, source: reqwest::Error) -> AdminError {
    AdminError::Exchange {
        what,
        source: source.without_url(), // it is in the manifest; here it would only be long
    }
}

/// Writes a body to where it is kept, up to a limit; how many bytes it was.
async fn pour(
    what: Ask,
    response: &mut Response,
    keep: &mut impl std::io::Write,
    limit: ByteSize,
) -> Result<u64, AdminError> {
    let mut length = 0;
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|source| broke(what, source))?
    {
        length += chunk.len() as u64;
        if length > limit.0 {
            return Err(AdminError::TooLarge { what, limit });
        }
        keep.write_all(&chunk)
            .map_err(|source| AdminError::Unwritten { what, source })?;
    }
    Ok(length)
}

/// The `error` of an answer in JSON, with the colon before it.
fn reason(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let said = json.as_ref().and_then(|json| json.get("error")?.as_str());
    said.map_or_else(String::new, |said| format!(": {said}"))
}

/// The body that asks the target to keep memory.
pub(super) fn retain_body(bytes: u64, count: u64) -> Value {
    json!({ "bytes": bytes, "count": count })
}

/// The body that asks the target to sample allocations.
pub(super) fn profile_body(lg_sample: u8) -> Value {
    json!({ "lg_sample": lg_sample })
}

/// Reads the counters that are there; what has a wrong shape is left out and said.
pub(super) fn report(status: &Value, problems: &mut Vec<AdminError>) -> TargetReport {
    let mut count = |path| noted(number(status, path), problems);
    TargetReport {
        connections_live: count("connections.live"),
        connections_opened_total: count("connections.opened_total"),
        streams_live: count("streams.live"),
        sessions_live: count("sessions.live"),
        sessions_created_total: count("sessions.created_total"),
        events_total: count("events_total"),
        tasks_live: count("tasks_live"),
        sessions_removed_total: noted(sum(status, "sessions.removed_total"), problems),
        heap: noted(heap_at(status, "heap"), problems),
    }
}

/// The answer to "tidy up".
pub(super) fn settled_heap(answer: &Value) -> Result<Option<Heap>, AdminError> {
    heap_at(&json!({ "heap": answer }), "heap")
}

/// The answer to "keep this".
pub(super) fn retained(answer: &Value) -> Result<Retained, AdminError> {
    let needed = |field| {
        number(answer, field)?.ok_or(AdminError::Missing {
            what: Ask::Retain,
            field,
        })
    };
    Ok(Retained {
        blocks: needed("blocks")?,
        bytes: needed("bytes")?,
    })
}

/// `None` without a heap, and without the one number that matters.
fn heap_at(status: &Value, path: &str) -> Result<Option<Heap>, AdminError> {
    let field = |name: &str| number(status, &format!("{path}.{name}"));
    let Some(allocated_bytes) = field("allocated_bytes")? else {
        return Ok(None);
    };
    Ok(Some(Heap {
        allocated_bytes,
        active_bytes: field("active_bytes")?,
        resident_bytes: field("resident_bytes")?,
        mapped_bytes: field("mapped_bytes")?,
        retained_bytes: field("retained_bytes")?,
        metadata_bytes: field("metadata_bytes")?,
    }))
}

fn noted<T>(read: Result<Option<T>, AdminError>, problems: &mut Vec<AdminError>) -> Option<T> {
    read.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    })
}

/// A number at a dotted path; `null` and nothing are both nothing.
fn number(status: &Value, path: &str) -> Result<Option<u64>, AdminError> {
    match status.pointer(&pointer(path)) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| shape(path, value)),
    }
}

/// A number, or an object of numbers (by reason) that are summed.
fn sum(status: &Value, path: &str) -> Result<Option<u64>, AdminError> {
    let Some(Value::Object(parts)) = status.pointer(&pointer(path)) else {
        return number(status, path);
    };
    let mut total = 0_u64;
    for (reason, value) in parts {
        let count = value
            .as_u64()
            .ok_or_else(|| shape(&format!("{path}.{reason}"), value))?;
        total = total.saturating_add(count);
    }
    Ok(Some(total))
}

fn shape(field: &str, found: &Value) -> AdminError {
    AdminError::Shape {
        field: field.to_owned(),
        found: crate::target::proc::shortened(&found.to_string()),
    }
}

/// `a.b` → `/a/b`.
fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_status_is_read() {
        let status = json!({
            "connections": {"live": 3, "opened_total": 30, "closed_total": {"fin": 27}},
            "streams": {"live": 2},
            "sessions": {"live": 1, "created_total": 9, "removed_total": {"ttl": 5, "deleted": 3}},
            "events_total": 100, "tasks_live": 12,
            "heap": {"allocated_bytes": 1, "active_bytes": 2, "resident_bytes": 3, "mapped_bytes": 4, "retained_bytes": 5, "metadata_bytes": 6},
            "defects": [], "allocator": "jemalloc",
        });
        let mut problems = Vec::new();
        let report = report(&status, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(report.sessions_removed_total, Some(8));
        assert_eq!(report.connections_live, Some(3));
        assert_eq!(
            report
                .heap
                .map(|heap| (heap.allocated_bytes, heap.metadata_bytes)),
            Some((1, Some(6)))
        );
    }

    #[test]
    fn what_is_missing_is_none_and_what_is_wrong_is_said() {
        for (status, complaint) in [
            (json!({}), None),
            (
                json!({"heap": null, "sessions": {"removed_total": 4}}),
                None,
            ),
            (
                json!({"connections": {"live": "3"}}),
                Some("the target's `connections.live` should be a whole number, found `\"3\"`"),
            ),
            (
                json!({"sessions": {"removed_total": {"ttl": -1}}}),
                Some(
                    "the target's `sessions.removed_total.ttl` should be a whole number, found `-1`",
                ),
            ),
            (
                json!({"heap": {"allocated_bytes": 1.5}}),
                Some("the target's `heap.allocated_bytes` should be a whole number, found `1.5`"),
            ),
            (json!([1]), None),
        ] {
            let mut problems = Vec::new();
            let report = report(&status, &mut problems);
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(said, complaint.into_iter().collect::<Vec<_>>(), "{status}");
            assert_eq!(report.connections_live, None);
        }
    }

    #[test]
    fn the_token_is_not_printed_and_a_strange_url_is_refused() {
        let admin = |url: &str| Admin {
            url: url.into(),
            token: "secret".into(),
        };
        assert!(!format!("{:?}", admin("http://127.0.0.1:1")).contains("secret"));
        assert_eq!(
            AdminLine::to(admin("127.0.0.1:1/")).unwrap().admin.url,
            "http://127.0.0.1:1"
        );
        for url in ["https://127.0.0.1:1", "ftp://x", "http://", ":"] {
            assert!(AdminLine::to(admin(url)).is_err(), "{url}");
        }
    }
}
