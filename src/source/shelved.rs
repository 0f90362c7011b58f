//! Folders of stores in files, as every source tells them: paths made unique, roles by name.

use super::SourceFolder;
use crate::model::FolderPath;
use crate::transform::names::{roles, unique};

/// A folder as a directory shows it.
pub(super) struct Row {
    /// By which it is found again.
    pub handle: String,
    pub path: FolderPath,
    /// Does it hold mail?
    pub selectable: bool,
}

/// The folders, in the order of the rows.
pub(super) fn folders(rows: Vec<Row>) -> Vec<SourceFolder> {
    let paths = unique(rows.iter().map(|row| row.path.clone()).collect());
    let special = roles(&paths);
    rows.into_iter()
        .zip(paths)
        .zip(special)
        .map(|((row, path), special)| SourceFolder {
            path,
            special,
            selectable: row.selectable,
            subscribed: None,
            object_id: None,
            counters: None,
            handle: row.handle,
        })
        .collect()
}
