//! The manual pages of the command line and of config.toml, each as its file name and its text.

use airpods::Cli;
use airpods::config::DEFAULTS;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// A page of the manual.
#[derive(Debug)]
pub(crate) struct Page {
    /// Such as `airpods-net-clamp-on.1`; the section is its extension.
    pub(crate) file_name: String,
    /// In roff, for `man`.
    pub(crate) text: String,
}

const MANUAL: &str = "airpods";
/// The changelog with the date of every release, the newest one first.
const RELEASES: &str = include_str!("../../../helper/debian/changelog");

/// The day of the newest release, which is the same wherever and whenever the pages are built.
fn date() -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let signed = RELEASES.lines().find_map(|line| line.strip_prefix(" -- ")).unwrap_or_default();
    let day = signed.split_once(", ").map_or("", |(_, day)| day);
    let words: Vec<&str> = day.split_whitespace().collect();
    match words.as_slice() {
        [day, month, year, ..] => {
            let month = MONTHS.iter().position(|name| name == month).map_or(0, |at| at + 1);
            format!("{year}-{month:02}-{day:0>2}")
        }
        _ => String::new(),
    }
}

/// One page for each command, and one for the configuration.
pub(crate) fn pages() -> Vec<Page> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = vec![configuration()];
    add_command(&root, &mut pages);
    pages
}

fn add_command(command: &Command, pages: &mut Vec<Page>) {
    let of_command = Man::new(command.clone()).manual(MANUAL).source(source()).date(date());
    pages.push(Page { file_name: of_command.get_filename(), text: text_of(command, &of_command) });
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        add_command(subcommand, pages);
    }
}

fn text_of(command: &Command, man: &Man) -> String {
    let mut text = Vec::new();
    let has_subcommands = command.has_subcommands();
    // Writing to memory does not fail.
    let _ = man
        .render_title(&mut text)
        .and_then(|()| man.render_name_section(&mut text))
        .and_then(|()| man.render_synopsis_section(&mut text))
        .and_then(|()| man.render_description_section(&mut text))
        .and_then(|()| man.render_options_section(&mut text))
        .and_then(|()| if has_subcommands { man.render_subcommands_section(&mut text) } else { Ok(()) });
    let mut rest = Roff::new();
    rest.control("SH", ["EXAMPLES"]).control("EX", []);
    for example in examples(command) {
        rest.text([roman(example)]);
    }
    rest.control("EE", []);
    rest.control("SH", ["EXIT STATUS"]);
    rest.text([roman(exit_codes())]);
    see_also(
        &mut rest,
        &[("airpods", "1"), ("airpods.toml", "5"), ("airpods-helper", "8")],
        command.get_display_name(),
    );
    // Before the possible values of an argument there is a break too many, which mandoc warns of.
    format!("{}{}", String::from_utf8_lossy(&text).replace(".br\n\n.br\n", ".br\n"), rest.to_roff())
}

/// The examples that the help shows after `Example:`, of the command itself or of all below it.
fn examples(command: &Command) -> Vec<String> {
    if command.has_subcommands() {
        return command.get_subcommands().flat_map(examples).collect();
    }
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let Some((_, examples)) = help.split_once("Example").and_then(|(_, rest)| rest.split_once(':')) else {
        return Vec::new();
    };
    examples.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The exit codes, as the help of `airpods` describes them.
fn exit_codes() -> String {
    let help = Cli::command().get_after_help().map(ToString::to_string).unwrap_or_default();
    let codes = help.split_once("Exit codes: ").map(|(_, codes)| codes.replace('\n', " ")).unwrap_or_default();
    format!("{codes}.")
}

fn configuration() -> Page {
    let mut page = Roff::new();
    page.control("TH", ["airpods.toml", "5", &date(), &source(), MANUAL]);
    page.control("SH", ["NAME"]).text([roman("airpods.toml - the configuration of airpods")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        bold("airpods"),
        roman(" reads one file, usually "),
        bold("~/.config/airpods/config.toml"),
        roman(", and lays it over its built-in defaults: tables are merged key by key, everything else replaces. "),
        bold("airpods config path"),
        roman(" says which file is read, "),
        bold("airpods config init"),
        roman(" writes one, "),
        bold("airpods config validate"),
        roman(" checks it. These are the keys with their defaults:"),
    ]);
    page.control("PP", []).control("EX", []);
    for line in DEFAULTS.lines() {
        page.text([roman(line)]);
    }
    page.control("EE", []);
    page.control("SH", ["FILES"]);
    page.text([bold("docs/configuration.md"), roman(" among the package's documents says more about each key.")]);
    see_also(&mut page, &[("airpods", "1"), ("airpods-config", "1")], None);
    Page { file_name: "airpods.toml.5".to_owned(), text: page.to_roff() }
}

fn see_also(page: &mut Roff, pages: &[(&str, &str)], except: Option<&str>) {
    page.control("SH", ["SEE ALSO"]);
    let others: Vec<_> = pages.iter().filter(|(name, _)| except != Some(name)).collect();
    for (number, (name, section)) in others.iter().enumerate() {
        let end = if number + 1 < others.len() { format!("({section}),") } else { format!("({section})") };
        page.control("BR", [*name, &end]);
    }
}

fn source() -> String {
    format!("airpods {}", env!("CARGO_PKG_VERSION"))
}
