//! Asks a person for a yes before something that cannot be taken back, and never waits where nobody is there.

use std::io::{self, BufRead, Write};

use crate::terminal::{EscapedLine, is_interactive};

/// The switches that confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// It was given beforehand: `--yes`, or `cli.auto_confirm`.
    Given,
    /// It has to be asked for.
    Asked,
}

impl Consent {
    /// Given if any of these says so: the command's `--yes`, the configuration's `cli.auto_confirm`.
    #[must_use]
    pub fn from_switches(yes: bool, auto_confirm: bool) -> Self {
        if yes || auto_confirm { Self::Given } else { Self::Asked }
    }
}

/// The outcome of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Do it.
    Yes,
    /// Leave it: a no, or anything that is not a yes.
    No,
    /// There is no terminal to ask on, and consent was not given beforehand.
    Nobody,
}

/// Asks a question such as ``Remove `web-0`?``, unless consent is given or nobody is there. No is the default.
///
/// # Errors
/// Those of the terminal.
pub async fn ask(question: &str, consent: Consent) -> io::Result<Answer> {
    if consent == Consent::Given {
        return Ok(Answer::Yes);
    }
    if !is_interactive() {
        return Ok(Answer::Nobody);
    }
    ask_on(question, io::BufReader::new(io::stdin())).await
}

/// Waiting does not block, so that Ctrl-C is heard meanwhile.
async fn ask_on(question: &str, mut answers: impl BufRead + Send + 'static) -> io::Result<Answer> {
    let mut err = anstream::stderr();
    write!(err, "{} [y/N] ", EscapedLine(question))?;
    err.flush()?;
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own and none of the runtime's, which would wait for it when Ctrl-C ends the command.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = answers.read_line(&mut answer).map(|_| answer);
        // Nobody waits for the answer any more after Ctrl-C.
        let _ = tell.send(read);
    });
    let answer = told.await.map_err(io::Error::other)??;
    if !answer.ends_with('\n') {
        // Ctrl-D leaves the line open.
        writeln!(err)?;
    }
    let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    Ok(if yes { Answer::Yes } else { Answer::No })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn only_a_yes_is_a_yes() {
        for (typed, yes) in [("y\n", true), ("Yes\n", true), ("n\n", false), ("\n", false), ("", false)] {
            let expected = if yes { Answer::Yes } else { Answer::No };
            assert_eq!(ask_on("Remove `web-0`?", typed.as_bytes()).await.unwrap(), expected, "{typed:?}");
        }
    }

    #[tokio::test]
    async fn consent_given_beforehand_is_not_asked_for() {
        let consent = Consent::from_switches(false, true);
        assert_eq!(ask("Remove `web-0`?", consent).await.unwrap(), Answer::Yes);
    }

    #[tokio::test]
    async fn a_question_that_nobody_answers_can_be_interrupted() {
        let (silent, _open) = std::os::unix::net::UnixStream::pair().unwrap();
        let interrupt = std::pin::pin!(tokio::time::sleep(std::time::Duration::from_millis(10)));
        let asked = crate::execute::unless(interrupt, ask_on("Remove it?", io::BufReader::new(silent))).await;
        assert!(asked.is_err(), "{asked:?}");
    }
}
