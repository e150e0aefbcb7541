//! Text that a terminal shows as it stands: characters that steer it, or hide or reorder their neighbours, are escaped.
//!
//! Names, keys, tags and bodies come from anybody; a record may hold any text. Every line and every cell that a command
//! writes for people passes [`plain`]. JSON escapes by itself.

/// The text with every character that is not shown as itself written as its escape: `\n`, `\u{1b}`.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) { plain.push(c) } else { plain.extend(c.escape_default()) }
    }
    plain
}

fn is_shown(c: char) -> bool {
    let hides = matches!(c,
        // Marks of direction.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Of no width.
        | '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        // Ends of lines and paragraphs.
        | '\u{2028}' | '\u{2029}');
    // Those of ASCII, DEL, and those from U+0080 to U+009F.
    !hides && !c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_hides_or_reorders_is_escaped_and_the_rest_stays() {
        assert_eq!(plain("a\u{1b}[2J\r\n\tb\u{7f}\0"), r"a\u{1b}[2J\r\n\tb\u{7f}\u{0}");
        let marks = "\u{80}\u{9b}\u{9f}\u{61c}\u{200b}\u{200f}\u{2028}\u{2029}\u{202e}\u{2060}\u{2066}\u{2069}\u{feff}\u{e0041}";
        assert_eq!(plain(marks).matches("\\u{").count(), marks.chars().count());
        assert!(plain(marks).is_ascii());
        for shown in ["orders/0/12 100 %", "na\u{ef}ve \u{4e2d}\u{6587} \u{1f980}", "back\\slash", "\u{a0}", "e\u{301}"]
        {
            assert_eq!(plain(shown), shown);
        }
    }
}
