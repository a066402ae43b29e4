//! Names that Kubernetes accepts: labels of DNS in lower case (RFC 1123, section 2.1).

use std::path::Path;

/// Longest label.
const MAX: usize = 63;

/// The name of a service, a pod or a volume as a label; the same where it is one already.
pub(super) fn label(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(allowed).take(MAX).collect();
    let text = text.trim_matches('-');
    if text.is_empty() { "x".to_owned() } else { text.to_owned() }
}

/// A label for a path, which no other path of the pod has: the end of a long one tells more than its beginning.
pub(super) fn of_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let digest = text.bytes().fold(0xcbf2_9ce4_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let start = text.char_indices().rev().nth(39).map_or(0, |(at, _)| at);
    format!("{}-{digest:08x}", label(&text[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_what_kubernetes_takes() {
        for (name, expected) in [
            ("open-webui", "open-webui"),
            ("airpods_ollama_data", "airpods-ollama-data"),
            ("My.Service_", "my-service"),
            ("___", "x"),
        ] {
            assert_eq!(label(name), expected);
        }
        assert_eq!(label(&"a".repeat(80)).len(), 63);
    }

    #[test]
    fn paths_that_look_alike_have_labels_of_their_own() {
        let [one, other] = ["/srv/models/a", "/srv/models_a"].map(|path| of_path(Path::new(path)));
        assert_ne!(one, other);
        assert!(one.starts_with("srv-models-a-"), "{one}");
        assert!(of_path(Path::new(&format!("/{}", "ä".repeat(100)))).len() <= MAX);
    }
}
