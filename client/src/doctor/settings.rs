//! Findings about the configuration itself.

use std::collections::BTreeSet;

use super::{Code, Finding, Subject, programs};

/// The configuration, and the programs that it requires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where it comes from, in words.
    pub source: String,
    /// Why it cannot be used.
    pub wrong: Option<String>,
    /// Its keys without effect.
    pub warnings: Vec<String>,
    /// Programs of `dependencies.required` that are missing.
    pub missing: Vec<String>,
    /// Programs of `dependencies.optional` that are missing.
    pub wanted: Vec<String>,
}

/// Judges the configuration.
pub(super) fn judge(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &settings.wrong {
        Some(why) => findings.push(Finding::broken(Code::ConfigurationWrong, why.as_str(), "airpods config edit")),
        None => findings.push(Finding::fine(format!("the configuration is valid: {}", settings.source))),
    }
    findings.extend(
        settings
            .warnings
            .iter()
            .map(|why| Finding::note(Code::ConfigurationIneffective, why.as_str(), "airpods config edit")),
    );
    let install = |program: &String| format!("sudo apt install {program}");
    findings.extend(settings.missing.iter().map(|program| {
        let cause = format!("`{program}` is not installed, and `dependencies.required` asks for it");
        Finding::broken(Code::DependencyMissing, cause, install(program))
    }));
    findings.extend(settings.wanted.iter().map(|program| {
        let cause = format!("`{program}` is not installed, and `dependencies.optional` asks for it");
        Finding::note(Code::DependencyWanted, cause, install(program))
    }));
    findings
}

/// Reads the facts about the configuration.
pub(super) fn read(subject: &Subject<'_>) -> Settings {
    let dependencies = &subject.config.dependencies;
    let missing = |programs: &[String]| {
        // Each program is reported once, even if it is listed twice.
        let asked: BTreeSet<&String> = programs.iter().filter(|_| !dependencies.skip_checks).collect();
        let missing = asked.into_iter().filter(|name| programs::find(name).is_none());
        missing.cloned().collect()
    };
    Settings {
        source: subject
            .file
            .as_ref()
            .map_or_else(|| "the built-in defaults".to_owned(), |file| file.display().to_string()),
        wrong: subject.wrong.clone(),
        warnings: subject.warnings.clone(),
        missing: missing(&dependencies.required),
        wanted: missing(&dependencies.optional),
    }
}
