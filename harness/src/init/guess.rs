//! What is asked of a server that nobody knows, and what its answers mean. Pure.

use std::time::Duration;

use serde_json::Value;

use super::ask::{Answer, Event, Heard, Question};

/// Where feeds usually are, if no path was given.
const FEEDS: [&str; 5] = ["/events", "/stream", "/sse", "/feed", "/"];
/// Where chats usually are.
const CHATS: [&str; 4] = ["/chat", "/api/chat", "/stream", "/v1/chat/completions"];

/// Names under which a session's id stands, without case and signs.
const SESSION_NAMES: [&str; 5] = [
    "conversationid",
    "sessionid",
    "threadid",
    "chatid",
    "convid",
];

/// Bodies that chats usually take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// No body.
    None,
    /// A form with `message`.
    Form,
    /// JSON with `message`.
    Json,
    /// JSON as OpenAI's.
    OpenAi,
}

impl Body {
    /// What is sent.
    pub const fn text(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Form => "message=Hello",
            Self::Json => "{\"message\":\"Hello\"}",
            Self::OpenAi => {
                "{\"model\":\"any\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"
            }
        }
    }

    /// Its content type.
    pub const fn kind(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Form => Some("application/x-www-form-urlencoded"),
            Self::Json | Self::OpenAi => Some("application/json"),
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Form => " (form)",
            Self::Json => " (JSON)",
            Self::OpenAi => " (JSON as OpenAI's)",
        }
    }
}

/// Where a session's id stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The event's name; empty if it has none.
    pub event: String,
    /// A JSON pointer; `None`: a regular expression.
    pub pointer: Option<String>,
    /// The regular expression, where there is no pointer.
    pub regex: Option<String>,
}

/// A request that is answered by an event stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// The request.
    pub question: Question,
    /// When the first event came, seconds.
    pub first_s: f64,
    /// After how long the server ends it, seconds; `None`: it stays open.
    pub ends_s: Option<f64>,
    /// Events that came.
    pub events: usize,
    /// Where the id of a session stands in it.
    pub session: Option<Captured>,
}

impl Script {
    /// For a person.
    pub(super) fn words(&self) -> String {
        let session = match &self.session {
            None => String::new(),
            Some(captured) => format!(", names a session in its event `{}`", captured.event),
        };
        let kind = match self.ends_s {
            Some(seconds) => format!("a chat of {} events in {seconds:.1} s", self.events),
            None => format!("a feed, {} events so far", self.events),
        };
        format!("{kind}, the first after {:.3} s{session}", self.first_s)
    }
}

/// What to ask, in order. A path that was given is asked in every way, and nothing else.
pub(super) fn questions(path: &str) -> Vec<Question> {
    let post = |path: &str, body| Question {
        method: "POST",
        path: path.into(),
        body,
    };
    let bodies = [Body::Form, Body::Json, Body::OpenAi];
    if path != "/" {
        let posts = bodies.map(|body| post(path, body));
        return std::iter::once(Question::get(path)).chain(posts).collect();
    }
    let feeds = FEEDS.iter().map(|path| Question::get(path));
    let chats = CHATS
        .iter()
        .flat_map(|path| bodies.map(|body| post(path, body)));
    feeds.chain(chats).collect()
}

/// What an answer means; `Err` says why it is no stream.
pub(super) fn script(question: &Question, heard: &Heard) -> Result<Script, String> {
    let Answer::Stream(events, first) = &heard.answer else {
        let kind = heard.kind.as_deref().unwrap_or("no content type");
        return Err(format!("answered {} with {kind}", heard.status));
    };
    if heard.status != 200 {
        return Err(format!("answered {}", heard.status));
    }
    let Some(first) = first else {
        return Err("answered with an event stream that brought no event".into());
    };
    Ok(Script {
        question: question.clone(),
        first_s: first.as_secs_f64(),
        ends_s: heard.ended.map(|ended: Duration| ended.as_secs_f64()),
        events: events.len(),
        session: events.iter().find_map(session),
    })
}

/// Where an event names a session.
fn session(event: &Event) -> Option<Captured> {
    let captured = |pointer, regex| Captured {
        event: event.name.clone(),
        pointer,
        regex,
    };
    if let Ok(value) = serde_json::from_str::<Value>(&event.data) {
        return pointer(&value, 3).map(|pointer| captured(Some(pointer), None));
    }
    // JSON wrapped in something else: `event='connected' data='{"conversation_id": "…"}'`.
    let pattern = r#"(?i)"((?:conversation|session|thread|chat)_?id)"\s*:\s*"([^"]+)""#;
    let found = regex::Regex::new(pattern).ok()?.captures(&event.data)?;
    let key = found.get(1)?.as_str();
    Some(captured(None, Some(format!(r#""{key}"\s*:\s*"([^"]+)""#))))
}

/// The JSON pointer of a session's id, not deeper than this.
fn pointer(value: &Value, depth: u32) -> Option<String> {
    let object = value.as_object().filter(|_| depth > 0)?;
    let is_id = |key: &str, value: &Value| {
        let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
        let named = SESSION_NAMES.contains(&plain.to_lowercase().as_str());
        let text = value.as_str().is_some_and(|text| !text.is_empty());
        named && (text || value.is_number())
    };
    let here = object.iter().find(|(key, value)| is_id(key, value));
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    if let Some((key, _)) = here {
        return Some(format!("/{}", escaped(key)));
    }
    let below = |(key, value): (&String, &Value)| {
        Some(format!("/{}{}", escaped(key), pointer(value, depth - 1)?))
    };
    object.iter().find_map(below)
}

/// How many sessions a page of metrics says there are now.
pub(super) fn sessions(metrics: &str) -> Option<f64> {
    let is_gauge = |name: &str| {
        let named = name.contains("session") || name.contains("conversation");
        let counts = [
            "_total", "_created", "_sum", "_count", "_bucket", "_bytes", "_seconds",
        ];
        named && !counts.iter().any(|end| name.ends_with(end))
    };
    let mut found = None;
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        if is_gauge(&line[..end]) {
            let value = line.rsplit(' ').next()?.parse::<f64>().ok()?;
            found = Some(found.unwrap_or(0.0) + value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event {
            name: name.into(),
            data: data.into(),
        }
    }

    #[test]
    fn the_id_of_a_session_is_found_wherever_servers_put_it() {
        for (data, pointer, regex) in [
            (
                r#"{"conversation_id":"a1"}"#,
                Some("/conversation_id"),
                None,
            ),
            (r#"{"a":{"sessionId":7}}"#, Some("/a/sessionId"), None),
            (r#"{"id":"a1","text":"session"}"#, None, None),
            (
                r#"event='connected' data='{"conversation_id": "a1"}'"#,
                None,
                Some(r#""conversation_id"\s*:\s*"([^"]+)""#),
            ),
            ("hello", None, None),
        ] {
            let found = session(&event("connected", data));
            let parts = found
                .as_ref()
                .map(|found| (found.pointer.as_deref(), found.regex.as_deref()));
            let wanted = (pointer.is_some() || regex.is_some()).then_some((pointer, regex));
            assert_eq!(parts, wanted, "{data}");
        }
    }

    #[test]
    fn a_stream_that_ends_is_a_chat_and_what_is_no_stream_is_said() {
        let heard = |answer, ended: Option<u64>| Heard {
            status: 200,
            kind: Some("text/html".into()),
            answer,
            ended: ended.map(Duration::from_secs),
        };
        let stream = Answer::Stream(vec![event("", "x")], Some(Duration::from_millis(5)));
        let get = Question::get("/x");
        assert_eq!(
            script(&get, &heard(stream.clone(), Some(2)))
                .unwrap()
                .ends_s,
            Some(2.0)
        );
        assert_eq!(script(&get, &heard(stream, None)).unwrap().ends_s, None);
        let html = heard(Answer::Text("<html>".into()), Some(0));
        assert_eq!(
            script(&get, &html).unwrap_err(),
            "answered 200 with text/html"
        );
        let mute = heard(Answer::Stream(vec![], None), None);
        assert!(script(&get, &mute).unwrap_err().contains("no event"));
    }

    #[test]
    fn only_gauges_of_sessions_count_and_labels_add_up() {
        let text = "# TYPE chat_sessions gauge\nchat_sessions{state=\"idle\"} 3\nchat_sessions{state=\"busy\"} 2\nsessions_created_total 99\n";
        assert_eq!(sessions(text), Some(5.0));
        assert_eq!(sessions("http_requests_total 5\n"), None);
    }

    #[test]
    fn a_path_that_was_given_is_asked_in_every_way_and_nothing_else() {
        let paths: Vec<String> = questions("/ask").iter().map(ToString::to_string).collect();
        assert_eq!(
            paths,
            [
                "GET /ask",
                "POST /ask (form)",
                "POST /ask (JSON)",
                "POST /ask (JSON as OpenAI's)"
            ]
        );
        assert!(questions("/").len() > 10);
    }
}
