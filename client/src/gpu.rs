//! The graphics processors that `auto` gives to containers.

use std::fs;
use std::path::Path;

use crate::cdi;

/// The classes by which vendors describe theirs (CDI), in the order in which they are preferred.
const CLASSES: [&str; 3] = ["nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu"];

/// What AMD's `ROCm` needs beside the render nodes ("Running `ROCm` Docker containers", AMD).
const KFD: &str = "/dev/kfd";

/// Where the render nodes are (drm(7)).
const DRI: &str = "/dev/dri";

/// The numbers of AMD and Intel at the PCI-SIG. Others, such as virtual cards, compute nothing for a model.
const VENDORS: [&str; 2] = ["0x1002", "0x8086"];

/// The present state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The class of the devices that are described to containers.
    pub class: Option<String>,
    /// Where there is none: the devices that all of them need in common, such as `/dev/kfd`.
    pub common: Vec<String>,
    /// Each card's own node, such as `/dev/dri/renderD128`.
    pub nodes: Vec<String>,
}

impl Found {
    /// Looks at this machine.
    #[must_use]
    pub fn here() -> Self {
        Self::at(&cdi::FOLDERS.map(Path::new), Path::new("/"))
    }

    fn at(cdi_folders: &[&Path], root: &Path) -> Self {
        let described = CLASSES.into_iter().find(|class| !cdi::describing(class, cdi_folders).is_empty());
        if let Some(class) = described {
            return Self { class: Some(class.to_owned()), ..Self::default() };
        }
        let nodes = render_nodes(root);
        let kfd = root.join(KFD.trim_start_matches('/')).exists() && !nodes.is_empty();
        Self { class: None, common: kfd.then(|| KFD.to_owned()).into_iter().collect(), nodes }
    }

    /// The devices of all of them.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        match &self.class {
            Some(class) => vec![format!("{class}=all")],
            None if self.nodes.is_empty() => Vec::new(),
            None => self.common.iter().cloned().chain([DRI.to_owned()]).collect(),
        }
    }

    /// The devices of one of them, by the name or number that it has; nothing where there is none of that number.
    #[must_use]
    pub fn one(&self, id: &str) -> Vec<String> {
        if let Some(class) = &self.class {
            return vec![format!("{class}={id}")];
        }
        let node = id.parse::<usize>().ok().and_then(|number| self.nodes.get(number));
        node.map_or(Vec::new(), |node| self.common.iter().chain([node]).cloned().collect())
    }

    /// Whether they are given as devices of the host's, which an ordinary user's containers may use through the groups of that
    /// user alone.
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

    fn card(root: &Path, name: &str, vendor: &str) {
        let folder = root.join("sys/class/drm").join(name).join("device");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("vendor"), format!("{vendor}\n")).unwrap();
    }

    #[test]
    fn cards_are_found_by_their_description_and_else_by_their_nodes() {
        let folder = tempfile::tempdir().unwrap();
        let (root, cdi) = (folder.path(), folder.path().join("etc/cdi"));
        let found = || Found::at(&[&cdi], root);
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
