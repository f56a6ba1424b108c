//! What a client says, as a profile writes it.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use toml::Spanned;

use crate::units::Period;

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
    /// The client thinks so long after the answer before, until it sends this: `"800ms"`. Not for the first step.
    pub think: Option<Period>,
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
        if let Some(first) = steps.first()
            && first.get_ref().think.is_some()
        {
            let message = "nobody thinks before the first request: move `think` to a later step";
            return Some((first.span(), message.into()));
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

    /// Method and path, of those that are given.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&'static str, &String)> {
        [
            ("GET", &self.get),
            ("POST", &self.post),
            ("DELETE", &self.delete),
        ]
        .into_iter()
        .filter_map(|(method, path)| Some((method, path.as_ref()?)))
    }
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
}
