//! What a client says, as a profile writes it.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use toml::Spanned;

use crate::plan::{Capture, CaptureBy, CaptureFrom, Exchange, Expect, Request, SessionUse, Unit};

/// What one client says, request by request, on one connection.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ScriptSpec {
    /// The requests, in order; the way of leaving applies to the last.
    pub steps: Spanned<Vec<Spanned<StepSpec>>>,
}

/// One request. Exactly one of `get`, `post`, `delete` names its path.
///
/// Placeholders in path, header values and bodies: `{session}`, `{n}` (the connection's number), `{uuid}`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct StepSpec {
    /// `GET` this path.
    pub get: Option<String>,
    /// `POST` to this path.
    pub post: Option<String>,
    /// `DELETE` this path.
    pub delete: Option<String>,
    /// More headers.
    pub headers: BTreeMap<String, String>,
    /// A form body (`application/x-www-form-urlencoded`).
    pub form: Option<BTreeMap<String, String>>,
    /// A JSON body.
    pub json: Option<toml::Value>,
    /// A raw body.
    pub body: Option<String>,
    /// The answer makes a session; this is where its id stands.
    pub creates_session: Option<CaptureSpec>,
    /// Uses a session of the standing population instead of its own, and counts as one turn.
    pub turn: bool,
    /// Ends this connection's session.
    pub deletes_session: bool,
    /// The answer is no event stream: any 2xx, read to its end.
    pub plain: bool,
}

/// Where the id of a session stands: one of `event`, `header`, `body = true`; then `pointer` or `regex`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CaptureSpec {
    /// In the data of the first event of this name.
    pub event: Option<String>,
    /// In this response header.
    pub header: Option<String>,
    /// In the body of a plain answer.
    pub body: bool,
    /// A JSON pointer: `"/conversation_id"`.
    pub pointer: Option<String>,
    /// A regular expression; its first group.
    pub regex: Option<String>,
}

impl ScriptSpec {
    /// What types could not refuse.
    pub(super) fn contradiction(&self) -> Option<(Range<usize>, String)> {
        let steps = self.steps.get_ref();
        if steps.is_empty() {
            return Some((
                self.steps.span(),
                "`steps` is empty: a script needs at least one request".into(),
            ));
        }
        steps
            .iter()
            .find_map(|step| Some((step.span(), step.get_ref().contradiction()?)))
    }

    /// The requests, in order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &StepSpec> {
        self.steps.get_ref().iter().map(Spanned::get_ref)
    }
}

impl StepSpec {
    fn contradiction(&self) -> Option<String> {
        if self.paths().count() != 1 {
            return Some("a step needs exactly one of `get`, `post`, `delete`".into());
        }
        if self.paths().any(|(_, path)| !path.starts_with('/')) {
            return Some("a path begins with `/`".into());
        }
        if [
            self.form.is_some(),
            self.json.is_some(),
            self.body.is_some(),
        ]
        .iter()
        .filter(|is| **is)
        .count()
            > 1
        {
            return Some("a step has at most one of `form`, `json`, `body`".into());
        }
        self.creates_session
            .as_ref()
            .and_then(CaptureSpec::contradiction)
    }

    fn paths(&self) -> impl Iterator<Item = (&'static str, &String)> {
        [
            ("GET", &self.get),
            ("POST", &self.post),
            ("DELETE", &self.delete),
        ]
        .into_iter()
        .filter_map(|(method, path)| Some((method, path.as_ref()?)))
    }

    /// The exchange that this step describes. `standing` is the pool that turns borrow from and standing sessions go to.
    pub(crate) fn exchange(&self, standing: usize, joins_pool: bool) -> Exchange {
        let (method, path) = self
            .paths()
            .next()
            .expect("checked while parsing: exactly one path");
        let (body, kind) = self.body_and_kind();
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if let Some(kind) = kind.filter(|_| !self.has_header("content-type")) {
            headers.push(("Content-Type".into(), kind.into()));
        }
        if !self.plain && !self.has_header("accept") {
            headers.push(("Accept".into(), "text/event-stream".into()));
        }
        Exchange {
            request: Request {
                method: method.into(),
                target: path.clone(),
                headers,
                body,
            },
            expect: if self.plain || self.deletes_session {
                Expect::Success
            } else {
                Expect::Stream
            },
            session: self.session_use(standing, joins_pool),
            counts: self.counts(),
        }
    }

    fn has_header(&self, name: &str) -> bool {
        self.headers
            .keys()
            .any(|key| key.eq_ignore_ascii_case(name))
    }

    fn body_and_kind(&self) -> (String, Option<&'static str>) {
        if let Some(form) = &self.form {
            return (encode_form(form), Some("application/x-www-form-urlencoded"));
        }
        if let Some(json) = &self.json {
            return (
                serde_json::to_string(json).expect("TOML values are JSON values"),
                Some("application/json"),
            );
        }
        (self.body.clone().unwrap_or_default(), None)
    }

    fn session_use(&self, standing: usize, joins_pool: bool) -> SessionUse {
        if self.deletes_session {
            SessionUse::Deletes
        } else if self.turn {
            SessionUse::Uses {
                pool: Some(standing),
            }
        } else if let Some(capture) = &self.creates_session {
            SessionUse::Creates {
                capture: capture.capture(),
                pool: joins_pool.then_some(standing),
            }
        } else {
            SessionUse::Uses { pool: None }
        }
    }

    const fn counts(&self) -> Unit {
        if self.turn {
            Unit::Turn
        } else if self.creates_session.is_some() {
            Unit::Session
        } else {
            Unit::Nothing
        }
    }
}

/// Encodes a form; placeholders stay readable, since they are filled in later with characters that need no encoding.
fn encode_form(form: &BTreeMap<String, String>) -> String {
    let encoded: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    encoded.replace("%7B", "{").replace("%7D", "}")
}

impl CaptureSpec {
    fn contradiction(&self) -> Option<String> {
        let places = [self.event.is_some(), self.header.is_some(), self.body]
            .iter()
            .filter(|is| **is)
            .count();
        if places != 1 {
            return Some(
                "`creates-session` needs exactly one of `event`, `header`, `body = true`".into(),
            );
        }
        if self.pointer.is_some() && self.regex.is_some() {
            return Some("`creates-session` has at most one of `pointer`, `regex`".into());
        }
        if self
            .pointer
            .as_ref()
            .is_some_and(|pointer| !pointer.starts_with('/'))
        {
            return Some("a JSON pointer begins with `/`: \"/conversation_id\"".into());
        }
        let broken = regex::Regex::new(self.regex.as_ref()?).err()?;
        Some(format!("`regex` is not a regular expression: {broken}"))
    }

    fn capture(&self) -> Capture {
        let from = match (&self.event, &self.header) {
            (Some(event), _) => CaptureFrom::Event(event.clone()),
            (None, Some(header)) => CaptureFrom::Header(header.clone()),
            (None, None) => CaptureFrom::Body,
        };
        let by = match (&self.pointer, &self.regex) {
            (Some(pointer), _) => CaptureBy::Pointer(pointer.clone()),
            (None, Some(regex)) => CaptureBy::Regex(regex.clone()),
            (None, None) => CaptureBy::Whole,
        };
        Capture { from, by }
    }
}
