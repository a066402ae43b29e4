//! GPUs: how the host describes them to containers (Container Device Interface specification, "CDI
//! JSON Specification"), and which of them `auto` selects.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders of CDI descriptions.
pub(crate) const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The descriptions in these folders that name devices of a class, such as `nvidia.com/gpu`: each
/// file with its text.
pub(crate) fn describing(class: &str, folders: &[&Path]) -> Vec<(PathBuf, String)> {
    let files = folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml" || kind == "json"))
        .filter_map(|path| std::fs::read_to_string(&path).ok().map(|text| (path, text)))
        .filter(|(_, text)| text.contains(class))
        .collect()
}

/// The files and devices of the host that a description in YAML or JSON needs: the absolute paths
/// of its keys `path` and `hostPath`. If a device has both, the latter is the host's.
pub(crate) fn needs(text: &str) -> Vec<PathBuf> {
    let words = text.split(['\n', ',', '{', '}']).filter_map(|part| {
        let (key, value) = part.split_once(':')?;
        let bare = |word: &str| word.trim_matches([' ', '\t', '\r', '-', '"', '\'']).to_owned();
        Some((bare(key), bare(value)))
    });
    let paths = words.filter(|(key, value)| (key == "path" || key == "hostPath") && value.starts_with('/'));
    paths.map(|(_, value)| value.into()).collect()
}

/// The CDI classes of the vendors' GPUs, in order of preference.
const CLASSES: [&str; 3] = ["nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu"];

/// The device that AMD's `ROCm` needs beside the render nodes ("Running `ROCm` Docker containers",
/// AMD).
const KFD: &str = "/dev/kfd";

/// Where the render nodes are (drm(7)).
const DRI: &str = "/dev/dri";

/// The PCI vendor IDs of AMD and Intel. Other cards without a CDI description, such as virtual
/// ones, cannot run a model.
const VENDORS: [&str; 2] = ["0x1002", "0x8086"];

/// The GPUs of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpus {
    /// The class of the devices that are described to containers.
    pub class: Option<String>,
    /// Without a class: the devices that every card needs, such as `/dev/kfd`.
    pub common: Vec<String>,
    /// Without a class: each card's own node, such as `/dev/dri/renderD128`.
    pub nodes: Vec<String>,
}

impl Gpus {
    /// Looks at this machine.
    #[must_use]
    pub fn here() -> Self {
        Self::at(&FOLDERS.map(Path::new), Path::new("/"))
    }

    fn at(cdi_folders: &[&Path], root: &Path) -> Self {
        let described = CLASSES.into_iter().find(|class| !describing(class, cdi_folders).is_empty());
        if let Some(class) = described {
            return Self { class: Some(class.to_owned()), ..Self::default() };
        }
        let nodes = render_nodes(root);
        let kfd = root.join(KFD.trim_start_matches('/')).exists() && !nodes.is_empty();
        Self { class: None, common: kfd.then(|| KFD.to_owned()).into_iter().collect(), nodes }
    }

    /// The devices that give a container all GPUs.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        match &self.class {
            Some(class) => vec![format!("{class}=all")],
            None if self.nodes.is_empty() => Vec::new(),
            None => self.common.iter().cloned().chain([DRI.to_owned()]).collect(),
        }
    }

    /// The devices of one GPU, by its CDI name or its number. Empty if no GPU has that number.
    #[must_use]
    pub fn one(&self, id: &str) -> Vec<String> {
        if let Some(class) = &self.class {
            return vec![format!("{class}={id}")];
        }
        let node = id.parse::<usize>().ok().and_then(|number| self.nodes.get(number));
        node.map_or(Vec::new(), |node| self.common.iter().chain([node]).cloned().collect())
    }

    /// Whether the GPUs are passed as devices of the host. An ordinary user's containers may use
    /// those only through that user's groups.
    #[must_use]
    pub fn are_nodes(&self) -> bool {
        self.class.is_none() && !self.nodes.is_empty()
    }
}

/// The render nodes of AMD's and Intel's cards, in order.
fn render_nodes(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("sys/class/drm")).into_iter().flatten().flatten();
    let vendor = |path: &Path| fs::read_to_string(path.join("device/vendor")).unwrap_or_default();
    let mut nodes: Vec<String> = entries
        .filter(|entry| VENDORS.contains(&vendor(&entry.path()).trim()))
        .filter_map(|entry| entry.file_name().into_string().ok().filter(|name| name.starts_with("renderD")))
        .collect();
    nodes.sort_by_key(|name| (name.len(), name.clone()));
    nodes.into_iter().map(|name| format!("{DRI}/{name}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gpu_is_found_only_by_its_description() {
        let folder = tempfile::tempdir().unwrap();
        let found = || describing("nvidia.com/gpu", &[folder.path(), Path::new("/does/not/exist")]).len();
        assert_eq!(found(), 0);
        std::fs::write(folder.path().join("notes.txt"), "kind: nvidia.com/gpu").unwrap();
        assert_eq!(found(), 0);
        std::fs::write(folder.path().join("nvidia.yaml"), "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n").unwrap();
        assert_eq!(found(), 1);
    }

    #[test]
    fn the_host_files_of_a_cdi_description_are_read_from_yaml_and_json() {
        // As `nvidia-ctk cdi generate` writes it.
        let yaml = "cdiVersion: 0.5.0\ncontainerEdits:\n  deviceNodes:\n  - path: /dev/nvidia-modeset\n  hooks:\n  \
                    - args:\n    - nvidia-ctk\n    hookName: createContainer\n    path: /usr/bin/nvidia-ctk\n  mounts:\n  \
                    - containerPath: /usr/lib/libcuda.so.550.54.14\n    hostPath: /usr/lib/libcuda.so.550.54.14\n";
        let wanted = ["/dev/nvidia-modeset", "/usr/bin/nvidia-ctk", "/usr/lib/libcuda.so.550.54.14"].map(PathBuf::from);
        assert_eq!(needs(yaml), wanted);
        let json = r#"{"containerEdits":{"deviceNodes":[{"path":"/dev/nvidia0"},{"path":"/dev/dri/card0"}]}}"#;
        assert_eq!(needs(json), ["/dev/nvidia0", "/dev/dri/card0"].map(PathBuf::from));
    }

    fn card(root: &Path, name: &str, vendor: &str) {
        let folder = root.join("sys/class/drm").join(name).join("device");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("vendor"), format!("{vendor}\n")).unwrap();
    }

    #[test]
    fn cards_are_found_by_their_description_or_by_their_nodes() {
        let folder = tempfile::tempdir().unwrap();
        let (root, cdi) = (folder.path(), folder.path().join("etc/cdi"));
        let found = || Gpus::at(&[&cdi], root);
        assert_eq!(found().all(), [""; 0]);
        card(root, "renderD129", "0x1af4");
        assert_eq!(found().all(), [""; 0], "a virtual card is none");
        card(root, "renderD130", "0x8086");
        card(root, "renderD128", "0x8086");
        assert_eq!(found().all(), ["/dev/dri"]);
        assert_eq!(found().one("1"), ["/dev/dri/renderD130"]);
        assert_eq!(found().one("2"), [""; 0]);
        fs::create_dir_all(root.join("dev")).unwrap();
        fs::write(root.join("dev/kfd"), "").unwrap();
        assert_eq!(found().all(), ["/dev/kfd", "/dev/dri"]);
        assert_eq!(found().one("0"), ["/dev/kfd", "/dev/dri/renderD128"]);
        assert!(found().are_nodes());
        for (file, class) in [("amd.json", "amd.com/gpu"), ("nvidia.yaml", "nvidia.com/gpu")] {
            fs::create_dir_all(&cdi).unwrap();
            fs::write(cdi.join(file), format!("{{\"kind\": \"{class}\"}}")).unwrap();
            assert_eq!((found().all(), found().one("3")), (vec![format!("{class}=all")], vec![format!("{class}=3")]));
        }
        assert!(!found().are_nodes());
    }
}
