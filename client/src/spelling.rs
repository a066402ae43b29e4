//! Guessing what a mistyped word was meant to be.

/// The candidate that a word most resembles, if any comes close: an abbreviation, or one slip in four letters.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    let close = |candidate: &&str| {
        (word.len() > 2 && candidate.starts_with(word))
            || distance(candidate) <= 1 + word.len().max(candidate.len()) / 4
    };
    candidates.into_iter().filter(close).min_by_key(|candidate| distance(candidate))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_and_abbreviations_are_understood_and_other_words_are_not() {
        let keys = ["pids_limit", "ports", "pod", "network_mode"];
        for (word, meant) in [
            ("pid_limit", Some("pids_limit")),
            ("port", Some("ports")),
            ("netwrok_mode", Some("network_mode")),
            ("network", Some("network_mode")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }
}
