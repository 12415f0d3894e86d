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
    /// Environment of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// User of the image when the Pod names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
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

    /// A program that runs on the machine's own root file system (read-only).
    pub fn host(expression: &str, command: &[&str]) -> Image {
        Image::unpacked(expression, "host", command)
    }
}
