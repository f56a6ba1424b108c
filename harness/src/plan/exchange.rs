//! From what a profile writes to what a client sends.

use std::collections::BTreeMap;

use super::{Capture, CaptureBy, CaptureFrom, Exchange, Expect, Request, SessionUse, Unit};
use crate::{
    profile::{CaptureSpec, StepSpec},
    units::Period,
};

/// The exchange that a step describes. `standing` is the pool that turns borrow from; with `joins_pool` the step's session
/// goes there.
pub(super) fn exchange(step: &StepSpec, standing: usize, joins_pool: bool) -> Exchange {
    let (method, path) = step
        .paths()
        .next()
        .expect("checked while parsing: exactly one path");
    let (body, kind) = body_and_kind(step);
    let mut headers: Vec<_> = step
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(kind) = kind.filter(|_| !has_header(step, "content-type")) {
        headers.push(("Content-Type".into(), kind.into()));
    }
    if !step.plain && !has_header(step, "accept") {
        headers.push(("Accept".into(), "text/event-stream".into()));
    }
    Exchange {
        request: Request {
            method: method.into(),
            target: path.clone(),
            headers,
            body,
        },
        expect: if step.plain || step.deletes_session {
            Expect::Success
        } else {
            Expect::Stream
        },
        session: session_use(step, standing, joins_pool),
        counts: counts(step),
        think: step.think.map(Period::get).unwrap_or_default(),
    }
}

fn has_header(step: &StepSpec, name: &str) -> bool {
    step.headers
        .keys()
        .any(|key| key.eq_ignore_ascii_case(name))
}

fn body_and_kind(step: &StepSpec) -> (String, Option<&'static str>) {
    if let Some(form) = &step.form {
        return (encode_form(form), Some("application/x-www-form-urlencoded"));
    }
    if let Some(json) = &step.json {
        let text = serde_json::to_string(json).expect("TOML values are JSON values");
        return (text, Some("application/json"));
    }
    (step.body.clone().unwrap_or_default(), None)
}

fn session_use(step: &StepSpec, standing: usize, joins_pool: bool) -> SessionUse {
    if step.deletes_session {
        SessionUse::Deletes
    } else if step.turn {
        SessionUse::Uses {
            pool: Some(standing),
        }
    } else if let Some(spec) = &step.creates_session {
        SessionUse::Creates {
            capture: capture(spec),
            pool: joins_pool.then_some(standing),
        }
    } else {
        SessionUse::Uses { pool: None }
    }
}

const fn counts(step: &StepSpec) -> Unit {
    if step.turn {
        Unit::Turn
    } else if step.creates_session.is_some() {
        Unit::Session
    } else {
        Unit::Nothing
    }
}

/// Encodes a form; placeholders stay readable, since they are filled in later with characters that need no encoding.
fn encode_form(form: &BTreeMap<String, String>) -> String {
    let encoded: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    encoded.replace("%7B", "{").replace("%7D", "}")
}

fn capture(spec: &CaptureSpec) -> Capture {
    let from = match (&spec.event, &spec.header) {
        (Some(event), _) => CaptureFrom::Event(event.clone()),
        (None, Some(header)) => CaptureFrom::Header(header.clone()),
        (None, None) => CaptureFrom::Body,
    };
    let by = match (&spec.pointer, &spec.regex) {
        (Some(pointer), _) => CaptureBy::Pointer(pointer.clone()),
        (None, Some(regex)) => CaptureBy::Regex(regex.clone()),
        (None, None) => CaptureBy::Whole,
    };
    Capture { from, by }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_keeps_its_placeholders() {
        let step = StepSpec {
            post: Some("/chat".into()),
            form: Some(BTreeMap::from([(
                "message".into(),
                "how are you, {n}?".into(),
            )])),
            ..StepSpec::default()
        };
        let sent = exchange(&step, 0, false).request;
        assert_eq!(sent.body, "message=how+are+you%2C+{n}%3F");
        assert!(
            sent.headers
                .contains(&("Accept".into(), "text/event-stream".into()))
        );
    }
}
