//! Descriptions of devices for containers (Container Device Interface specification, "CDI JSON Specification").

use std::path::{Path, PathBuf};

/// Where they lie.
pub(crate) const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The descriptions in these folders that name devices of a class, such as `nvidia.com/gpu`: each file with its text.
pub(crate) fn describing(class: &str, folders: &[&Path]) -> Vec<(PathBuf, String)> {
    let files = folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml" || kind == "json"))
        .filter_map(|path| std::fs::read_to_string(&path).ok().map(|text| (path, text)))
        .filter(|(_, text)| text.contains(class))
        .collect()
}

/// The files and devices of the host that a description in YAML or JSON needs: the absolute paths of its keys `path` and
/// `hostPath`. Where a device has both, the latter is the host's.
pub(crate) fn needs(text: &str) -> Vec<PathBuf> {
    let words = text.split(['\n', ',', '{', '}']).filter_map(|part| {
        let (key, value) = part.split_once(':')?;
        let bare = |word: &str| word.trim_matches([' ', '\t', '\r', '-', '"', '\'']).to_owned();
        Some((bare(key), bare(value)))
    });
    let paths = words.filter(|(key, value)| (key == "path" || key == "hostPath") && value.starts_with('/'));
    paths.map(|(_, value)| value.into()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gpu_is_found_by_its_description_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let found = || describing("nvidia.com/gpu", &[folder.path(), Path::new("/does/not/exist")]).len();
        assert_eq!(found(), 0);
        std::fs::write(folder.path().join("notes.txt"), "kind: nvidia.com/gpu").unwrap();
        assert_eq!(found(), 0);
        std::fs::write(folder.path().join("nvidia.yaml"), "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n").unwrap();
        assert_eq!(found(), 1);
    }

    #[test]
    fn what_a_description_needs_of_the_host_is_read_from_yaml_and_json() {
        // As `nvidia-ctk cdi generate` writes it.
        let yaml = "cdiVersion: 0.5.0\ncontainerEdits:\n  deviceNodes:\n  - path: /dev/nvidia-modeset\n  hooks:\n  \
                    - args:\n    - nvidia-ctk\n    hookName: createContainer\n    path: /usr/bin/nvidia-ctk\n  mounts:\n  \
                    - containerPath: /usr/lib/libcuda.so.550.54.14\n    hostPath: /usr/lib/libcuda.so.550.54.14\n";
        let wanted = ["/dev/nvidia-modeset", "/usr/bin/nvidia-ctk", "/usr/lib/libcuda.so.550.54.14"].map(PathBuf::from);
        assert_eq!(needs(yaml), wanted);
        let json = r#"{"containerEdits":{"deviceNodes":[{"path":"/dev/nvidia0"},{"path":"/dev/dri/card0"}]}}"#;
        assert_eq!(needs(json), ["/dev/nvidia0", "/dev/dri/card0"].map(PathBuf::from));
    }
}
