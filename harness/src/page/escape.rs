//! Text of others must not become markup, script, or a change of direction.

use serde::Serialize;

/// Text for HTML, in content and in quoted attributes; all of it [`visible`].
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in visible(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Text in which everything can be seen: what would turn the direction of the text around it, or is no character to be seen, is
/// shown as its number.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => out.push(letter),
            hidden if is_hidden(hidden) => {
                out.push_str(&format!("\u{27e8}U+{:04X}\u{27e9}", u32::from(hidden)));
            }
            other => out.push(other),
        }
    }
    out
}

/// Text of others within a sentence of ours: right-to-left words in it do not rearrange ours.
pub fn foreign(text: &str) -> String {
    format!("<bdi>{}</bdi>", escaped(text))
}

/// JSON for a `<script>` element that is not run: no `<` in it, so nothing in it ends the element.
///
/// # Panics
/// Never: what pages hold is made of text and numbers.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value)
        .expect("text and numbers are JSON")
        .replace('<', "\\u003c")
}

fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_text() {
        for (text, page) in [
            (
                "</script><b a='1' b=\"2\">&",
                "&lt;/script&gt;&lt;b a=&#39;1&#39; b=&quot;2&quot;&gt;&amp;",
            ),
            (
                "a\u{202e}b\u{0}",
                "a\u{27e8}U+202E\u{27e9}b\u{27e8}U+0000\u{27e9}",
            ),
            ("שלום", "שלום"),
        ] {
            assert_eq!(escaped(text), page);
        }
    }

    #[test]
    fn json_cannot_end_its_element() {
        let text = json(&["</script><!-- <script>"]);
        assert!(!text.contains('<'), "{text}");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ["</script><!-- <script>"]);
    }
}
