//! Rules for prose that a program can check: the length of sentences, and words that must not come
//! back.

/// Most words in a sentence. Code in backticks counts as one word.
const LONGEST: usize = 25;

/// Openings that turn a sentence into a riddle. The subject comes first.
const OPENINGS: [&str; 9] =
    ["what", "who", "whoever", "whose", "whatever", "so long", "so many", "so much", "that which"];

/// Turns of phrase with a plain equivalent, which is given for the failure's text.
const PHRASES: [(&str, &str); 22] = [
    ("anew", "again, or: recreated, replaced"),
    ("beforehand", "in advance"),
    ("has a yes", "is confirmed"),
    ("takes a yes", "needs confirmation"),
    ("is told", "is reported"),
    ("are told", "are reported"),
    ("was told", "was reported"),
    ("is said", "is reported"),
    ("are said", "are reported"),
    ("was said", "was reported"),
    ("nothing is said", "nothing is selected, or: is not reported"),
    ("somebody's", "another user's"),
    ("stranger's", "a foreign"),
    ("strangers", "others"),
    ("a stranger", "another"),
    ("what is so", "the present state"),
    ("so already", "unchanged"),
    ("nobody is asked", "never prompts"),
    ("asks nobody", "never asks"),
    ("also when", "even if"),
    ("also where", "even if"),
    ("that there are", "existing"),
];

/// The sentences of a text without markup. A colon ends one as a full stop does: a clause or a list
/// of its own follows.
pub(crate) fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, mark) in text.char_indices().filter(|(_, letter)| ".?!:".contains(*letter)) {
        let after = &text[at + mark.len_utf8()..];
        let rest = after.trim_start_matches(['"', '\'', ')', '”', '*']);
        if rest.is_empty() || rest.starts_with(char::is_whitespace) {
            let end = text.len() - rest.len();
            found.push(text[start..end].trim());
            start = end;
        }
    }
    found.push(text[start..].trim());
    found.retain(|sentence| !sentence.is_empty());
    found
}

/// Why a sentence is too long, if it is.
pub(crate) fn too_long(sentence: &str) -> Option<String> {
    let words = sentence.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
    (words > LONGEST).then(|| format!("{words} words, {LONGEST} at most: {sentence}"))
}

/// Why the words of a sentence are not plain, if they are not.
pub(crate) fn riddle(sentence: &str) -> Option<String> {
    let words: Vec<String> = sentence
        .split_whitespace()
        // A name in braces is filled in by the program.
        .map(|word| word.trim_matches(|letter: char| !letter.is_alphanumeric() && letter != '{').to_lowercase())
        .filter(|word| !word.is_empty())
        .collect();
    let plain = format!(" {} ", words.join(" "));
    let has = |phrase: &str| plain.contains(&format!(" {phrase} "));
    if let Some((phrase, instead)) = PHRASES.iter().find(|(phrase, _)| has(phrase)) {
        return Some(format!("\"{phrase}\" (say: {instead}): {sentence}"));
    }
    let opens = |opening: &&&str| plain.starts_with(&format!(" {opening} "));
    let opening = OPENINGS.iter().find(opens).filter(|_| !sentence.ends_with('?'))?;
    Some(format!("begins with \"{opening}\": {sentence}"))
}

/// Everything that is wrong with the sentences of a text.
pub(crate) fn faults(text: &str) -> Vec<String> {
    sentences(text).into_iter().flat_map(|sentence| too_long(sentence).into_iter().chain(riddle(sentence))).collect()
}

#[test]
fn a_sentence_ends_with_its_mark_and_not_within_a_number() {
    assert_eq!(
        sentences("One is 1.5 wide. Two (see above.) Three: `a.b`, and more"),
        ["One is 1.5 wide.", "Two (see above.)", "Three:", "`a.b`, and more"]
    );
}

#[test]
fn a_sentence_of_more_than_25_words_is_noticed() {
    let words = |count: usize| format!("{}word.", "word ".repeat(count - 1));
    assert_eq!(too_long(&words(25)), None);
    assert!(too_long(&words(26)).is_some());
    assert_eq!(faults(&format!("{} {}", words(20), words(20))), Vec::<String>::new());
}

#[test]
fn a_riddle_is_noticed_wherever_it_stands() {
    for bad in [
        "What is kept is written first.",
        "Whoever asks gets an answer.",
        "So many losses are repaired.",
        "The container is made anew.",
        "Everything (also when nothing runs) is read.",
        "This takes a yes, on a terminal.",
        "It takes a stranger's table.",
    ] {
        assert!(riddle(bad).is_some(), "{bad}");
    }
    for good in [
        "Who can reach it?",
        "The helper restores the table.",
        "So the rules stay.",
        "Whatsoever is a word.",
        "{what} is needed here",
    ] {
        assert_eq!(riddle(good), None);
    }
}
