//! Values of units: words, specifiers and variables (systemd.syntax(7), systemd.unit(5) "Specifiers").

use crate::config::literal;

/// The text of a value as `config.toml` has it; nothing where a specifier or a variable of systemd in it has no meaning here.
pub(super) fn text(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut plain = String::new();
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('%', Some('%')) | ('$', Some('$')) => {
                plain.push(c);
                rest.next();
            }
            ('%', Some(specifier)) => {
                out.push_str(&literal(&std::mem::take(&mut plain)));
                out.push_str(match specifier {
                    'h' => "${HOME}",
                    'u' => "${USER}",
                    't' => "${XDG_RUNTIME_DIR}",
                    _ => return None,
                });
                rest.next();
            }
            ('%', None) => return None,
            ('$', Some(next)) if next.is_ascii_alphabetic() || matches!(next, '{' | '_') => return None,
            (c, _) => plain.push(c),
        }
    }
    out.push_str(&literal(&plain));
    Some(out)
}

/// The same for each word of a value, quotes taken off as systemd does it.
pub(super) fn texts(value: &str) -> Option<Vec<String>> {
    words(value).iter().map(|word| text(word)).collect()
}

/// The words of a value.
pub(super) fn words(value: &str) -> Vec<String> {
    shlex::split(value).unwrap_or_else(|| value.split_whitespace().map(ToOwned::to_owned).collect())
}

/// systemd's words for yes (systemd.syntax(7)).
pub(super) fn is_yes(value: &str) -> bool {
    matches!(value, "1" | "yes" | "true" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_and_signs_mean_the_same_afterwards() {
        for (unit, toml) in [
            ("%h/models", Some("${HOME}/models")),
            ("100%%", Some("100%")),
            ("a$$b $${C} 5$", Some("a$b $${C} 5$")),
            ("$$$$", Some("$$$")),
            ("$b", None),
            ("${C}", None),
            ("%i", None),
            ("50%", None),
        ] {
            assert_eq!(text(unit).as_deref(), toml, "{unit}");
        }
        assert_eq!(texts("a 'b c' \"d\""), Some(vec!["a".to_owned(), "b c".to_owned(), "d".to_owned()]));
    }
}
