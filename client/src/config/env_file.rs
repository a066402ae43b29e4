//! Files with variables, a line each: `.env` beside the configuration, and those of `env_file`.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Upper bound on the size of such a file, in bytes.
const LARGEST: u64 = 1 << 20;

/// Reads a file of this kind. What is no file is refused before it is read: a FIFO would never end.
pub(super) fn read(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut text = String::new();
    let mut file = File::open(path)?.take(LARGEST + 1);
    if file.read_to_string(&mut text)? as u64 > LARGEST {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is larger than 1 MiB"));
    }
    Ok(text)
}

/// The variables of a text, in their order; what is wrong with a line that is none.
pub(super) fn variables(text: &str) -> Result<Vec<(String, String)>, String> {
    let read = dotenvy::from_read_iter(text.as_bytes());
    read.map(|variable| {
        variable.map_err(|error| match error {
            // The line itself may hold a password.
            dotenvy::Error::LineParse(line, at) => {
                let number = text.lines().position(|other| other == line).map_or(0, |index| index + 1);
                format!("line {number} is not `NAME=value` (at its character {at})")
            }
            other => other.to_string(),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_variables_with_or_without_quotes_and_comments_are_not() {
        let text = "# a comment\nA=1\nexport B='two words'\n\nC=\"x\" # more\nD=\n";
        let read =
            variables(text).map(|all| all.iter().map(|(name, value)| format!("{name}|{value}")).collect::<Vec<_>>());
        assert_eq!(read, Ok(["A|1", "B|two words", "C|x", "D|"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_line_that_is_no_variable_is_named_and_not_shown() {
        let why = variables("A=1\nsecret words\n");
        assert!(why.as_ref().is_err_and(|why| why.starts_with("line 2 ") && !why.contains("secret")), "{why:?}");
    }

    #[test]
    fn what_never_ends_is_not_read() {
        assert!(read(Path::new("/dev/zero")).is_err());
        assert!(read(Path::new("/does/not/exist")).is_err_and(|error| error.kind() == ErrorKind::NotFound));
    }
}
