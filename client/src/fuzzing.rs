//! Properties that hold for any bytes, for everything that reads bytes from outside: one function
//! for each reader, which panics where a property does not hold.
//!
//! `make fuzz` feeds them bytes that reach as much code as possible (`tests/fuzz`). The tests below
//! replay the inputs that are kept in `tests/fuzz/seeds`. No released program contains this module.
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic reports a finding")]

use std::path::{Path, PathBuf};

use crate::config::{self, ConfigError, Severity, Source};
use crate::error::Report;
use crate::terminal::{Escaped, EscapedLine, to_json};

pub use crate::dns::name_servers;
pub use crate::doctor::host_files;
pub use crate::kernel::cgroup_files;
pub use crate::podman::{log_frames, podman_answer};

/// Any text is a configuration, or has problems that can be printed. Neither problems nor warnings
/// contain a control character, and parsing the same text twice gives the same result.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parse =
        || config::parse(Some(Source::of_file(PathBuf::from("/x.toml"), text.to_owned())), Some(Path::new("/data")));
    let mut output = Vec::new();
    match parse() {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|problem| problem.severity != Severity::Error));
            loaded.print_warnings(&mut output);
            assert_eq!(format!("{:?}", parse().unwrap().config), format!("{:?}", loaded.config));
        }
        Err(error) => {
            let ConfigError::Wrong(problems) = &error else { panic!("{error}") };
            assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            error.render(&mut output).unwrap();
        }
    }
    let output = String::from_utf8(output).unwrap();
    assert!(output.chars().all(|shown| shown == '\n' || !shown.is_control()), "{output:?}");
}

/// Text that is shown cannot steer a terminal, and harmless text is shown unchanged. JSON keeps
/// every text as it was.
pub fn shown(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let steers = |shown: char| {
        shown.is_control() || matches!(shown, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}')
    };
    let (escaped, line, json) = (Escaped(text).to_string(), EscapedLine(text).to_string(), to_json(&text).unwrap());
    assert!(!escaped.chars().any(|shown| shown != '\n' && steers(shown)), "{escaped:?}");
    assert!(!line.chars().any(steers) && !json.chars().any(steers), "{line:?} {json:?}");
    assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    if !text.chars().any(|c| steers(c) || matches!(c, '\u{2060}'..='\u{2069}')) {
        assert_eq!((escaped.as_str(), line.as_str()), (text, text));
    }
}

#[cfg(test)]
mod tests {
    use airpods_lab::fuzz::{Target, replay};

    #[test]
    fn the_fuzz_properties_hold_for_the_kept_inputs() {
        let targets: [(&str, Target); 7] = [
            ("config", super::config),
            ("shown", super::shown),
            ("podman_answer", super::podman_answer),
            ("log_frames", super::log_frames),
            ("name_servers", super::name_servers),
            ("host_files", super::host_files),
            ("cgroup_files", super::cgroup_files),
        ];
        for (name, target) in targets {
            assert!(replay(name, target).unwrap() > 0, "{name}");
        }
    }
}
