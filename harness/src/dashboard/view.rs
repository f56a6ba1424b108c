//! From what is known to what is sent: the page, a frame of its stream. No I/O.

use serde::Serialize;
use serde_json::json;

use super::state::{News, PANELS};
use crate::page::{self, Document, escaped};

/// The page. `controls`: whether there is a token that lets somebody stop the run.
pub(super) fn page(title: &str, controls: bool) -> String {
    let body = format!(
        "<main id=\"main\">\n<div class=\"top\"><span class=\"soft\">sse-soak: {title}</span><span id=\"theme\"></span></div>\n\
         <div class=\"verdict\" id=\"verdict\"><h1 id=\"headline\">Connecting</h1><p class=\"soft\" id=\"place\"></p></div>\n\
         <div id=\"alarms\" role=\"status\"></div>\n<div class=\"tiles\" id=\"tiles\"></div>\n<div id=\"controls\"></div>\n\
         <h2>So far</h2>\n<p class=\"hint\">Bytes per unit of each factor, with an interval that may be watched all the time (95 %). The verdict is taken at the end, and is sharper.</p>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"So far\"><table><thead><tr><th scope=\"col\">factor</th><th scope=\"col\">so far</th>\
         <th scope=\"col\" class=\"n\">estimate</th><th scope=\"col\">in words</th></tr></thead><tbody id=\"so-far\"></tbody></table></div>\n\
         <h2>Over time</h2>\n<div id=\"plots\"></div>\n<h2>Events</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Events\"><table><thead><tr><th scope=\"col\" class=\"n\">at, s</th>\
         <th scope=\"col\">kind</th><th scope=\"col\">what</th></tr></thead><tbody id=\"events\"></tbody></table></div>\n</main>\n\
         <footer>Fed by the run itself, over Server-Sent Events. <a href=\"/metrics\">OpenMetrics</a></footer>",
        title = escaped(title),
    );
    Document {
        title: &format!("{title}, live"),
        body: &body,
        data: &page::json(&json!({ "panels": PANELS, "controls": controls })),
        script: page::DASHBOARD_SCRIPT,
        talks: true,
    }
    .html()
}

/// One frame of the stream. `whole`: it replaces everything.
pub(super) fn frame(news: &News, whole: bool) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        whole: bool,
        #[serde(flatten)]
        news: &'a News,
    }
    let data = serde_json::to_string(&Frame { whole, news }).expect("numbers and text are JSON");
    format!("data: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::{
        super::state::{About, State},
        *,
    };

    #[test]
    fn a_frame_is_one_event_whatever_is_in_it() {
        let mut state = State::new(About::default());
        state.event(1.0, "problem", "two\nlines and\r\n\r\ndata: more");
        let text = frame(&state.news().unwrap(), false);
        assert_eq!(text.matches('\n').count(), 2);
        assert!(text.starts_with("data: {\"whole\":false,") && text.ends_with("\n\n"));
    }
}
