//! The shell of a page: one style, one script, and a policy that lets nothing else in.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::escape::escaped;

const STYLE: &str = include_str!("page.css");
/// The drawing code that every page shares.
const PLOT: &str = include_str!("plot.js");
/// What a report does beside drawing.
pub const REPORT_SCRIPT: &str = include_str!("report.js");
/// What the live page does beside drawing.
pub const DASHBOARD_SCRIPT: &str = include_str!("live.js");

/// A page.
pub struct Document<'a> {
    /// For the title bar; any text.
    pub title: &'a str,
    /// What is between `<main>` and `</main>`: HTML.
    pub body: &'a str,
    /// What the script reads: JSON, made by [`json`](super::json).
    pub data: &'a str,
    /// What it does beside drawing.
    pub script: &'a str,
    /// Whether it may talk to the server that sent it.
    pub talks: bool,
}

impl Document<'_> {
    /// The whole page. Only our script and our style run in it, whatever else may have got in.
    pub fn html(&self) -> String {
        let script = format!("{PLOT}\n{}", self.script);
        let talks = if self.talks {
            "; connect-src 'self'"
        } else {
            ""
        };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; form-action 'none'; \
             img-src data:; style-src '{style_hash}'; script-src '{script_hash}'{talks}\">\n\
             <link rel=\"icon\" href=\"data:,\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n\
             <script type=\"application/json\" id=\"data\">{data}</script>\n<script>{script}</script>\n</body>\n</html>\n",
            style_hash = hash(STYLE),
            script_hash = hash(&script),
            title = escaped(self.title),
            body = self.body,
            data = self.data,
        )
    }
}

/// How a policy names a script or a style that it allows.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_style_hold_nothing_that_ends_them() {
        for text in [STYLE, PLOT, REPORT_SCRIPT, DASHBOARD_SCRIPT] {
            assert!(!text.contains("</"), "would end the element it stands in");
        }
    }

    #[test]
    fn nothing_is_fetched_from_anywhere() {
        for text in [STYLE, PLOT, REPORT_SCRIPT, DASHBOARD_SCRIPT] {
            assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("//cdn"));
        }
    }
}
