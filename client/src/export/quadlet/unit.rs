//! The text of a unit, as systemd and Quadlet read it (systemd.syntax(7), podman-systemd.unit(5)).

use std::fmt::{Display, Write};

/// A unit under construction.
#[derive(Debug, Default)]
pub(super) struct Unit {
    text: String,
}

impl Unit {
    /// Begins a section.
    pub(super) fn section(&mut self, name: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        self.line(format_args!("{gap}[{name}]"));
    }

    /// Sets a key to a value without special characters, such as a checked name or a number.
    pub(super) fn set(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key}={value}"));
    }

    /// Sets a key to any words, quoted where necessary.
    pub(super) fn words<'a>(&mut self, key: &str, words: impl IntoIterator<Item = &'a str>) {
        let words: Vec<_> = words.into_iter().map(quoted).collect();
        self.set(key, words.join(" "));
    }

    /// Sets a key to one word, quoted if necessary.
    pub(super) fn word(&mut self, key: &str, word: &str) {
        self.words(key, [word]);
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// Whether a word needs no quotes. `%` begins a specifier and `$` a variable, even within quotes.
pub(super) fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:=,".contains(c);
    !word.is_empty() && word.chars().all(plain)
}

/// Quotes and escapes a word, so that systemd reads it unchanged.
fn quoted(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' | '$' => text.extend([c, c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _ = write!(text, "\\x{:02x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_stays_one_word_and_nothing_in_it_is_special() {
        for (word, expected) in [
            ("A=b", "A=b"),
            ("", "\"\""),
            ("A=b c", "\"A=b c\""),
            ("A=\"$HOME\" 50% \\", "\"A=\\\"$$HOME\\\" 50%% \\\\\""),
            ("A=b\n[Service]", "\"A=b\\n[Service]\""),
            ("\u{1b}", "\"\\x1b\""),
            ("A=ä'", "\"A=ä'\""),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
