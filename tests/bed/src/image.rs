//! Which program stands for which container image: what the node agent is told. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line of the agent's table of images; the first whose expression matches counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Image {
    /// Regular expression on the whole image name of a container.
    #[serde(rename = "match")]
    pub matches: String,
    /// `host` for the machine's own root, or the path of an unpacked image's root.
    pub rootfs: String,
    /// Entrypoint when the container gives none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments when the container gives neither command nor arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// User of the image when the Pod names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Group of the image when the Pod names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Paths in the container that are files or folders of the machine, read-only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub binds: BTreeMap<String, String>,
}

impl Image {
    /// An image whose name matches `expression`, from an unpacked root directory with this entrypoint.
    pub fn unpacked(expression: &str, rootfs: &str, command: &[&str]) -> Image {
        Image {
            matches: expression.to_owned(),
            rootfs: rootfs.to_owned(),
            command: command.iter().map(|&s| s.to_owned()).collect(),
            ..Image::default()
        }
    }

    /// A program of this machine on the machine's own root file system, seen in the container as `/<its file name>`.
    pub fn host(expression: &str, program: &str) -> Image {
        let name = program.rsplit('/').next().unwrap_or(program);
        let inside = format!("/{name}");
        Image {
            binds: BTreeMap::from([(inside.clone(), program.to_owned())]),
            ..Image::unpacked(expression, "host", &[&inside])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_not_set_are_not_written() {
        let json = serde_json::to_string(&Image::unpacked("causeway", "/rootfs", &["/causeway"])).unwrap();
        assert_eq!(json, r#"{"match":"causeway","rootfs":"/rootfs","command":["/causeway"]}"#);
    }

    #[test]
    fn a_program_of_the_host_is_bound_into_the_container() {
        let image = Image::host("agnhost", "/some/where/agnhost");
        assert_eq!(image.command, ["/agnhost"]);
        assert_eq!(image.binds["/agnhost"], "/some/where/agnhost");
    }
}
