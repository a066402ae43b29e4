//! The words of pages, help texts, messages and comments keep the rules of docs/development.md, as
//! far as a program can judge them. Links between pages lead somewhere.
#![allow(clippy::unwrap_used, clippy::panic)]

mod page;
mod prose;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use airpods::Cli;
use clap::CommandFactory;

use page::Page;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file below a folder of the repository with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files(&path, extension) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// All pages by their paths.
fn pages() -> BTreeMap<PathBuf, Page> {
    let single = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md"];
    let all = files(&top().join("docs"), "md").into_iter().chain(single.map(|page| top().join(page)));
    all.map(|path| (path.clone(), Page::read(&fs::read_to_string(path).unwrap()))).collect()
}

#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn name(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(top()).unwrap_or(path).display()
}

#[test]
fn pages_are_plain_wrapped_and_have_their_contents() {
    let pages = pages();
    let read: usize = pages.values().map(|page| page.prose.len()).sum();
    assert!(pages.len() > 20 && read > 500, "the pages are not read: {}, {read}", pages.len());
    // A change is one line in the changelog, however long.
    let judged = pages.iter().filter(|(path, _)| !path.ends_with("CHANGELOG.md"));
    let faults =
        judged.flat_map(|(path, page)| page.faults().into_iter().map(move |fault| format!("{}:{fault}", name(path))));
    none(&faults.collect::<Vec<_>>());
}

#[test]
fn links_between_pages_lead_to_files_and_headings() {
    let pages = pages();
    let links = pages.iter().flat_map(|(path, page)| page.links.iter().map(move |(line, link)| (path, line, link)));
    let own: Vec<_> = links.filter(|(_, _, link)| !link.contains("://") && !link.contains('@')).collect();
    assert!(own.len() > 150, "the links are not read: {}", own.len());
    let faults = own.into_iter().filter(|(path, _, link)| leads_nowhere(path, link, &pages));
    none(&faults.map(|(path, line, link)| format!("{}:{line}: {link} leads nowhere", name(path))).collect::<Vec<_>>());
}

fn leads_nowhere(from: &Path, link: &str, pages: &BTreeMap<PathBuf, Page>) -> bool {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = if file.is_empty() { from.to_owned() } else { from.parent().unwrap().join(file) };
    let Ok(target) = target.canonicalize() else { return true };
    anchor
        .is_some_and(|anchor| pages.get(&target).is_none_or(|page| page.anchors().iter().all(|found| found != anchor)))
}

#[test]
fn the_book_has_every_page_of_its_folder() {
    let pages = pages();
    let summary = &pages[&top().join("docs/SUMMARY.md")];
    let listed: Vec<&str> = summary.links.iter().map(|(_, link)| link.as_str()).collect();
    let missing = files(&top().join("docs"), "md").into_iter().filter(|path| {
        let file = path.file_name().unwrap().to_str().unwrap();
        file != "SUMMARY.md" && !listed.contains(&file)
    });
    none(&missing.map(|path| format!("{} is not in docs/SUMMARY.md", name(&path))).collect::<Vec<_>>());
}

#[test]
fn no_link_of_the_book_leads_out_of_it() {
    let pages = pages();
    // `make docs` copies the pages of docs/ and nothing beside them.
    let book = pages.iter().filter(|(path, _)| path.parent().is_some_and(|folder| folder.ends_with("docs")));
    let links: Vec<_> =
        book.flat_map(|(path, page)| page.links.iter().map(move |(line, link)| (path, line, link))).collect();
    assert!(links.len() > 100, "the links are not read: {}", links.len());
    let out = links.into_iter().filter(|(_, _, link)| link.starts_with("../"));
    none(&out.map(|(path, line, link)| format!("{}:{line}: {link} leads out", name(path))).collect::<Vec<_>>());
}

#[test]
fn a_broken_link_of_a_page_is_noticed() {
    let pages = pages();
    let from = top().join("docs/faq.md");
    for bad in ["nowhere.md", "black-hole.md#nowhere", "#nowhere", "../polkit/examples#nowhere"] {
        assert!(leads_nowhere(&from, bad, &pages), "{bad}");
    }
    for good in ["black-hole.md", "configuration.md#behind-a-vpn", "#does-it-work-without-root", "../polkit/examples"] {
        assert!(!leads_nowhere(&from, good, &pages), "{good}");
    }
}

/// The texts of a command's help and of the commands below it, each with the name of its command.
fn help(command: &clap::Command, texts: &mut Vec<(String, String)>) {
    let options = command.get_arguments().flat_map(|option| {
        let values = option.get_possible_values().into_iter().filter_map(|value| value.get_help().cloned());
        option.get_help().cloned().into_iter().chain(option.get_long_help().cloned()).chain(values).collect::<Vec<_>>()
    });
    let own = [command.get_about(), command.get_long_about()].into_iter().flatten().cloned();
    let all = own.chain(options).map(|text| (command.get_name().to_owned(), text.to_string()));
    texts.extend(all.collect::<Vec<_>>());
    command.get_subcommands().for_each(|command| help(command, texts));
}

#[test]
fn help_texts_are_plain() {
    let mut texts = Vec::new();
    help(&Cli::command(), &mut texts);
    assert!(texts.len() > 100, "the help is not read: {}", texts.len());
    let faults = texts.iter().flat_map(|(command, text)| {
        let paragraphs = text.split("\n\n").flat_map(|text| prose::faults(&text.replace('\n', " ")));
        paragraphs.map(move |fault| format!("{command}: {fault}")).collect::<Vec<_>>()
    });
    none(&faults.collect::<Vec<_>>());
}

/// The texts in the literals of a source file, with their lines. Texts of one word are names.
fn literals(source: &str) -> Vec<(usize, String)> {
    let code = source.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let texts = code.flat_map(|(index, line)| {
        let line = line.replace("\\\"", "'");
        line.split('"').skip(1).step_by(2).map(|text| (index + 1, text.to_owned())).collect::<Vec<_>>()
    });
    texts.filter(|(_, text)| text.contains(' ')).collect()
}

#[test]
fn messages_have_no_riddle() {
    let sources = ["client/src", "helper/src", "dbus/src"].into_iter().flat_map(|part| files(&top().join(part), "rs"));
    let is_test = |path: &Path| path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
    // Tests beside the code are its end.
    let texts = |source: &str| literals(source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
    let riddles = |text: &str| prose::sentences(text).into_iter().filter_map(prose::riddle).collect();
    judge(sources.filter(|path| !is_test(path)), 1000, texts, riddles);
}

/// Judges the texts of source files, which come with their lines. At least `least` texts show that
/// the files are read.
#[track_caller]
fn judge(
    sources: impl Iterator<Item = PathBuf>,
    least: usize,
    texts: fn(&str) -> Vec<(usize, String)>,
    faults_of: fn(&str) -> Vec<String>,
) {
    let mut seen = 0;
    let mut faults = Vec::new();
    for path in sources {
        for (line, text) in texts(&fs::read_to_string(&path).unwrap()) {
            seen += 1;
            faults.extend(faults_of(&text).into_iter().map(|fault| format!("{}:{line}: {fault}", name(&path))));
        }
    }
    assert!(seen > least, "the sources are not read: {seen}");
    none(&faults);
}

#[test]
fn a_riddle_in_a_message_is_noticed() {
    let source = "// \"it is told\"\nlet a = format!(\"{x} is told, and \\\"y\\\" made anew\");\nb(\"name\");\n";
    assert_eq!(literals(source), [(2, "{x} is told, and 'y' made anew".to_owned())]);
}

/// The comments of a source file without their marks. Lines that follow each other are one comment,
/// with the number of the first.
fn comments(source: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut before = None;
    for (index, line) in source.lines().enumerate() {
        let line = line.trim_start();
        let mark = ["///", "//!", "//"].into_iter().find(|mark| line.starts_with(mark));
        if let Some(text) = mark.and_then(|mark| line.strip_prefix(mark)) {
            let text = text.strip_prefix(' ').unwrap_or(text);
            match found.last_mut().filter(|_| before == mark) {
                Some((_, comment)) => *comment = format!("{comment}\n{text}"),
                None => found.push((index + 1, text.to_owned())),
            }
        }
        before = mark;
    }
    found
}

fn sources() -> impl Iterator<Item = PathBuf> {
    ["client", "helper", "dbus", "tests"].into_iter().flat_map(|part| files(&top().join(part), "rs"))
}

#[test]
fn comments_are_plain() {
    let faults =
        |comment: &str| Page::read(comment).prose.into_iter().flat_map(|(_, text)| prose::faults(&text)).collect();
    judge(sources(), 5000, comments, faults);
}

#[test]
fn comments_are_wrapped_at_100() {
    judge(sources(), 9000, commented_lines, |line| {
        let width = line.chars().count();
        // A line of a drawing or a table cannot be broken.
        (width > 100 && !line.trim_start().contains("  ")).then(|| format!("{width} characters")).into_iter().collect()
    });
}

/// The lines that hold nothing but a comment, with their indentation.
fn commented_lines(source: &str) -> Vec<(usize, String)> {
    let lines = source.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//"));
    lines.map(|(index, line)| (index + 1, line.to_owned())).collect()
}

#[test]
fn a_comment_is_the_lines_that_follow_each_other() {
    let source = "//! One\n//! two.\n/// Three.\nfn a() {} // four\n    // Five\n    // six.\n\n// Seven.\n";
    let all = [(1, "One\ntwo."), (3, "Three."), (5, "Five\nsix."), (8, "Seven.")];
    assert_eq!(comments(source), all.map(|(line, text)| (line, text.to_owned())));
}

#[test]
fn prompts_of_polkit_and_the_helpers_manual_have_no_riddle() {
    for file in [
        "polkit/org.airpods.helper1.policy",
        "helper/help.txt",
        "helper/airpods-helper.8",
        "dbus/org.airpods.Helper1.xml",
    ] {
        let text = fs::read_to_string(top().join(file)).unwrap();
        let faults = text.lines().flat_map(|line| prose::sentences(line).into_iter().filter_map(prose::riddle));
        none(&faults.map(|fault| format!("{file}: {fault}")).collect::<Vec<_>>());
    }
}
