//! The public table: path and method to handler; everything a client can get wrong to a status and a JSON body.
//!
//! In: a request. Out: a [`Reply`]. Handlers do not know sockets; a stream is handed to [`stream::open`].

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{self, HeaderValue},
};
use serde_json::json;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::{
    Server,
    instruments::ConnectionState,
    listener::Peer,
    sessions::{Full, Role, Session},
    stream::{self, EventBody},
};

const PAGE: &str = include_str!("page.html");
/// Characters of a chat message.
const MESSAGE: std::ops::RangeInclusive<usize> = 1..=1000;

/// What goes back to a client.
pub(crate) enum Reply {
    /// All at once.
    Whole(Option<Bytes>),
    /// Event by event.
    Stream(EventBody),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("{0}")]
    NotFound(&'static str),
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error("the request body did not arrive in time")]
    TooLate,
    #[error("the request body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the body must be application/x-www-form-urlencoded")]
    MediaType,
    #[error("{0}")]
    Unprocessable(String),
    #[error("{0}")]
    Overloaded(&'static str),
}

impl Refusal {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::TooLate => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::Unprocessable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unprocessable"),
            Self::Overloaded(_) => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        }
    }

    fn into_reply(self) -> Response<Reply> {
        let (status, error) = self.status();
        let mut reply = json_reply(
            status,
            &json!({ "error": error, "message": self.to_string() }),
        );
        let headers = reply.headers_mut();
        match self {
            Self::Method(allowed) => {
                _ = headers.insert(header::ALLOW, HeaderValue::from_static(allowed))
            }
            Self::Overloaded(_) => {
                _ = headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            // the rest of the body is not worth reading
            Self::TooLarge(_) | Self::TooLate => {
                _ = headers.insert(header::CONNECTION, HeaderValue::from_static("close"))
            }
            _ => {}
        }
        reply
    }
}

impl From<Full> for Refusal {
    fn from(_: Full) -> Self {
        Self::Overloaded("the session limit is reached")
    }
}

enum Route {
    Page,
    Health,
    Metrics,
    Chat,
    Events,
    History(Uuid),
    Conversation(Uuid),
}

fn find(path: &str) -> Result<(Route, &'static str), Refusal> {
    let id = |text: &str| {
        text.parse()
            .map_err(|_| Refusal::Unprocessable(format!("`{text}` is not a UUID")))
    };
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    Ok(
        match [parts.next(), parts.next(), parts.next(), parts.next()] {
            [Some(""), None, ..] => (Route::Page, "GET"),
            [Some("health"), None, ..] => (Route::Health, "GET"),
            [Some("metrics"), None, ..] => (Route::Metrics, "GET"),
            [Some("chat"), None, ..] => (Route::Chat, "POST"),
            [Some("events"), None, ..] => (Route::Events, "GET"),
            [Some("conversations"), Some(text), Some("history"), None] => {
                (Route::History(id(text)?), "GET")
            }
            [Some("conversations"), Some(text), None, ..] => {
                (Route::Conversation(id(text)?), "DELETE")
            }
            _ => return Err(Refusal::NotFound("nothing lives at this path")),
        },
    )
}

/// Serves one request. Dropping the future (the client left before its answer) gives up whatever was being prepared.
pub(crate) async fn answer(
    server: &Rc<Server>,
    peer: &Rc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    peer.become_state(ConnectionState::Answering);
    let reply = dispatch(server, peer, request)
        .await
        .unwrap_or_else(Refusal::into_reply);
    if peer.state() == ConnectionState::Answering {
        peer.become_state(ConnectionState::Waiting);
    }
    Ok(reply)
}

async fn dispatch(
    server: &Rc<Server>,
    peer: &Rc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Refusal> {
    let (route, allowed) = find(request.uri().path())?;
    if request.method() != allowed.parse::<Method>().expect("our own table") {
        return Err(Refusal::Method(allowed));
    }
    match route {
        Route::Page => Ok(whole("text/html; charset=utf-8", PAGE)),
        Route::Health => Ok(health(server)),
        Route::Metrics => metrics(server),
        Route::Chat => chat(server, peer, request).await,
        Route::Events => events(server, peer, &request),
        Route::History(id) => history(server, id, request.uri().query()),
        Route::Conversation(id) => delete(server, id),
    }
}

fn health(server: &Server) -> Response<Reply> {
    let status = if server.short_of_memory.get() {
        "degraded"
    } else {
        "ok"
    };
    json_reply(StatusCode::OK, &json!({ "status": status }))
}

fn metrics(server: &Server) -> Result<Response<Reply>, Refusal> {
    if !server.config.metrics {
        return Err(Refusal::NotFound("metrics are switched off"));
    }
    Ok(whole(
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        server.metrics.encode(),
    ))
}

async fn chat(
    server: &Rc<Server>,
    peer: &Rc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Refusal> {
    admit(server)?;
    let form = read_form(server, request).await?;
    let (mut message, mut conversation) = (None, None);
    for (key, value) in form_urlencoded::parse(&form) {
        match &*key {
            "message" => message = Some(value.into_owned()),
            "conversation_id" if !value.is_empty() => conversation = Some(uuid(&value)?),
            _ => {} // a browser's form may carry more
        }
    }
    drop(form);
    let message = message.ok_or_else(|| Refusal::Unprocessable("`message` is missing".into()))?;
    if !MESSAGE.contains(&message.chars().count()) {
        return Err(Refusal::Unprocessable(
            "`message` must have 1 to 1000 characters".into(),
        ));
    }
    let now = Instant::now();
    let session = server.sessions.enter(conversation, now)?;
    session.touch(now);
    session.remember(Role::User, &message);
    let turn = stream::Turn {
        server: Rc::clone(server),
        number: session.next_turn(),
        session: Rc::clone(&session),
    };
    let visit = server.sessions.visit(session);
    Ok(event_stream(stream::open(
        server,
        peer,
        Some(visit),
        "chat",
        |feeder| stream::chat(feeder, turn),
    )))
}

async fn read_form(server: &Server, request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let media_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if !media_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    {
        return Err(Refusal::MediaType);
    }
    let limit = server.config.max_body.0;
    if request.body().size_hint().lower() > limit {
        return Err(Refusal::TooLarge(limit));
    }
    let body = Limited::new(
        request.into_body(),
        usize::try_from(limit).unwrap_or(usize::MAX),
    )
    .collect();
    let body = match timeout(server.config.request_timeout.get(), body).await {
        Err(_) => return Err(Refusal::TooLate),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge(limit)),
        Ok(Err(_)) => return Err(Refusal::Malformed("the request body broke off")),
        Ok(Ok(body)) => body.to_bytes(),
    };
    match std::str::from_utf8(&body) {
        Ok(_) => Ok(body),
        Err(_) => Err(Refusal::Malformed("the form is not UTF-8")),
    }
}

fn events(
    server: &Rc<Server>,
    peer: &Rc<Peer>,
    request: &Request<Incoming>,
) -> Result<Response<Reply>, Refusal> {
    admit(server)?;
    let (mut interval, mut bytes, mut limit, mut session) = (1000, 64, None, None);
    for (key, value) in form_urlencoded::parse(request.uri().query().unwrap_or("").as_bytes()) {
        match &*key {
            "interval_ms" => interval = number("interval_ms", &value, 1, 86_400_000)?,
            "bytes" => bytes = number("bytes", &value, 0, server.config.max_event_bytes.0)?,
            "limit" => limit = Some(number("limit", &value, 1, u64::MAX)?),
            "session" => session = Some(known(server, uuid(&value)?)?),
            other => {
                return Err(Refusal::Unprocessable(format!(
                    "`{other}` is not one of interval_ms, bytes, limit, session"
                )));
            }
        }
    }
    let last_event_id = request
        .headers()
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let feed = stream::Feed {
        server: Rc::clone(server),
        session: session.clone(),
        interval: Duration::from_millis(interval),
        bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        limit,
        last_event_id,
    };
    let visit = session.map(|session| server.sessions.visit(session));
    Ok(event_stream(stream::open(
        server,
        peer,
        visit,
        "events",
        |feeder| stream::feed(feeder, feed),
    )))
}

fn history(server: &Server, id: Uuid, query: Option<&str>) -> Result<Response<Reply>, Refusal> {
    let mut limit = usize::MAX;
    for (key, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
        match &*key {
            "limit" => {
                limit = usize::try_from(number("limit", &value, 1, u64::from(u32::MAX))?)
                    .unwrap_or(usize::MAX)
            }
            other => {
                return Err(Refusal::Unprocessable(format!(
                    "`{other}` is not one of limit"
                )));
            }
        }
    }
    let session = known(server, id)?;
    session.touch(Instant::now());
    Ok(json_reply(
        StatusCode::OK,
        &json!({ "conversation_id": id, "messages": session.history(limit) }),
    ))
}

fn delete(server: &Server, id: Uuid) -> Result<Response<Reply>, Refusal> {
    if !server.sessions.delete(id) {
        return Err(UNKNOWN);
    }
    let mut reply = Response::new(Reply::Whole(None));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    Ok(reply)
}

const UNKNOWN: Refusal = Refusal::NotFound("no such conversation");

fn known(server: &Server, id: Uuid) -> Result<Rc<Session>, Refusal> {
    server.sessions.find(id).ok_or(UNKNOWN)
}

/// New streams are the one thing that costs memory: they wait outside while it is short.
fn admit(server: &Server) -> Result<(), Refusal> {
    if server.short_of_memory.get() {
        Err(Refusal::Overloaded("memory is short"))
    } else {
        Ok(())
    }
}

fn uuid(text: &str) -> Result<Uuid, Refusal> {
    text.parse()
        .map_err(|_| Refusal::Unprocessable(format!("`{text}` is not a UUID")))
}

fn number(name: &str, text: &str, low: u64, high: u64) -> Result<u64, Refusal> {
    match text.parse() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => Err(Refusal::Unprocessable(format!(
            "`{name}` must be a whole number from {low} to {high}"
        ))),
    }
}

fn event_stream(body: EventBody) -> Response<Reply> {
    let mut reply = Response::new(Reply::Stream(body));
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no")); // nginx would hold events back
    reply
}

fn whole(media_type: &'static str, body: impl Into<Bytes>) -> Response<Reply> {
    let mut reply = Response::new(Reply::Whole(Some(body.into())));
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply
}

fn json_reply(status: StatusCode, body: &serde_json::Value) -> Response<Reply> {
    let mut reply = whole("application/json", body.to_string());
    *reply.status_mut() = status;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_method_or_to_a_clear_status() {
        let id = Uuid::nil();
        for (path, expected) in [
            ("/", Ok("GET")),
            ("/chat", Ok("POST")),
            ("/events", Ok("GET")),
            (&*format!("/conversations/{id}"), Ok("DELETE")),
            (&*format!("/conversations/{id}/history"), Ok("GET")),
            ("/conversations/7", Err(422)),
            ("/conversations/7/history", Err(422)),
            ("/chat/more", Err(404)),
            ("//", Err(404)),
            ("*", Err(404)),
        ] {
            let found = find(path)
                .map(|(_, allowed)| allowed)
                .map_err(|refusal| refusal.status().0.as_u16());
            assert_eq!(found, expected, "{path}");
        }
    }
}
