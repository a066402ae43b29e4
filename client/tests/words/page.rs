//! A page of Markdown as the rules see it: prose, headings, links and lines.

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::prose;

/// The widest line of prose, in characters.
const WIDTH: usize = 100;
/// A page with more lines has its contents at the top.
const LONG: usize = 120;

/// Words that no heading begins with. A heading is a task or a noun.
const NO_HEADING: [&str; 7] = ["What", "Who", "Whom", "Whose", "Which", "So", "That"];

/// The parts of a page that are judged.
#[derive(Debug, Default)]
pub(crate) struct Page {
    lines: usize,
    /// Prose outside tables, and the cells of tables: each without markup, with its line.
    pub(crate) prose: Vec<(usize, String)>,
    pub(crate) cells: Vec<(usize, String)>,
    /// Level, text and line.
    pub(crate) headings: Vec<(HeadingLevel, String, usize)>,
    /// Where links lead, with their lines.
    pub(crate) links: Vec<(usize, String)>,
    wide: Vec<usize>,
}

impl Page {
    pub(crate) fn read(text: &str) -> Self {
        let mut page = Self { lines: text.lines().count(), ..Self::default() };
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        // Tables, code and HTML cannot be wrapped.
        let mut fixed: Vec<Range<usize>> = Vec::new();
        let mut current = String::new();
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Table(_) | Tag::CodeBlock(_) | Tag::HtmlBlock) => {
                    fixed.push(line(range.start)..line(range.end));
                    page.add_prose(line(range.start), &mut current);
                }
                Event::Start(Tag::Heading { .. } | Tag::Paragraph | Tag::List(_) | Tag::Item) => {
                    page.add_prose(line(range.start), &mut current);
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line(range.start), dest_url.into_string()));
                }
                Event::Text(text) => current.push_str(&text),
                Event::Code(_) => current.push_str("CODE"),
                Event::SoftBreak | Event::HardBreak => current.push(' '),
                Event::End(TagEnd::Heading(level)) => {
                    let source = text[range.clone()].trim_start_matches('#').trim().to_owned();
                    page.headings.push((level, source, line(range.start)));
                    current.clear();
                }
                Event::End(TagEnd::TableCell) => {
                    page.cells.push((line(range.start), std::mem::take(&mut current)));
                }
                Event::End(TagEnd::CodeBlock) => current.clear(),
                Event::End(TagEnd::Paragraph | TagEnd::Item) => page.add_prose(line(range.start), &mut current),
                _ => {}
            }
        }
        let is_fixed = |number: usize| fixed.iter().any(|range| range.contains(&number));
        // A line of one word, such as an address, cannot be wrapped either.
        let breaks = |line: &str| line.trim_start_matches(['-', ' ']).contains(' ');
        let wide = |(_, text): &(usize, &str)| text.chars().count() > WIDTH && breaks(text);
        let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        page.wide = numbered.filter(wide).map(|(number, _)| number).filter(|number| !is_fixed(*number)).collect();
        page
    }

    fn add_prose(&mut self, line: usize, text: &mut String) {
        let text = std::mem::take(text);
        if !text.trim().is_empty() {
            self.prose.push((line, text));
        }
    }

    /// The names by which a link leads to the headings, as forges and mdBook make them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        self.headings.iter().map(|(_, heading, _)| anchor(heading)).collect()
    }

    /// The faults of the page by itself, each with its line.
    pub(crate) fn faults(&self) -> Vec<String> {
        let prose = self.prose.iter().flat_map(|(line, text)| at(*line, prose::faults(text)));
        let cells = self
            .cells
            .iter()
            .flat_map(|(line, text)| at(*line, prose::sentences(text).into_iter().filter_map(prose::riddle).collect()));
        let headings = self.headings.iter().filter_map(|(_, heading, line)| {
            let first = heading.split_whitespace().next()?;
            NO_HEADING.contains(&first).then(|| format!("{line}: a heading is a task or a noun: {heading}"))
        });
        let wide = self.wide.iter().map(|line| format!("{line}: wider than {WIDTH}"));
        prose.chain(cells).chain(headings).chain(wide).chain(self.without_contents()).collect()
    }

    /// A long page leads to each of its sections before the first one begins.
    fn without_contents(&self) -> Option<String> {
        let sections = || self.headings.iter().filter(|(level, ..)| *level == HeadingLevel::H2);
        let (_, _, first) = sections().next().filter(|_| self.lines > LONG)?;
        let missing = sections()
            .map(|(_, heading, _)| format!("#{}", anchor(heading)))
            .find(|anchor| !self.links.iter().any(|(line, link)| line < first && link == anchor))?;
        Some(format!("1: a page of more than {LONG} lines begins with its contents, and these lack {missing}"))
    }
}

fn at(line: usize, faults: Vec<String>) -> impl Iterator<Item = String> {
    faults.into_iter().map(move |fault| format!("{line}: {fault}"))
}

/// In lower case, with `-` for spaces, and without marks.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn prose_is_distinguished_from_code_and_tables() {
    let page =
        Page::read("# A\n\nOne `x y`\ntwo.\n\n- three\n\n```\nfour\n```\n\n| a | b |\n|---|---|\n| five | six |\n");
    assert_eq!(page.prose, [(3, "One CODE two.".to_owned()), (6, "three".to_owned())]);
    let cells: Vec<&str> = page.cells.iter().map(|(_, cell)| cell.as_str()).collect();
    assert_eq!(cells, ["a", "b", "five", "six"]);
    assert_eq!(page.faults(), Vec::<String>::new());
}

#[test]
fn every_kind_of_fault_of_a_page_is_noticed() {
    let long = "word ".repeat(26);
    for bad in [
        "# What there is\n".to_owned(),
        format!("{}\n{}.\n", &long[..60].trim(), &long[60..].trim()),
        format!("- {}\n  {}\n", &long[..60].trim(), &long[60..].trim()),
        format!("{} and more.\n", "x".repeat(95)),
        "Text.\n\n| a |\n|---|\n| Whoever may |\n".to_owned(),
        format!("# A\n\n## B\n{}", "\nWord.\n".repeat(70)),
    ] {
        assert_eq!(Page::read(&bad).faults().len(), 1, "{bad}");
    }
    let contents = format!("# A\n\n[B c](#b-c-d)\n\n## B c, `d`\n{}", "\nWord.\n".repeat(70));
    assert_eq!(Page::read(&contents).faults(), Vec::<String>::new());
}
