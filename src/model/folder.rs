//! Folders: identity, path, role.

use std::fmt;

/// A folder's id inside one mailbox of the ledger: given at first sight, kept through renames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderId(pub u32);

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.0)
    }
}

/// A folder's place: the names from the root down, decoded to Unicode, separators removed. Never empty as a whole;
/// a name may hold any character, also `/`, control characters and the separators of other stores: each target maps
/// names to what it can hold (`transform::names`). The inbox is `["INBOX"]`.
///
/// A folder's name is personal data: `Debug` shows the depth only, `Display` does not exist.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderPath(Vec<String>);

impl FolderPath {
    /// From names; `None` if there are none.
    pub fn new(names: Vec<String>) -> Option<FolderPath> {
        if names.is_empty() { None } else { Some(FolderPath(names)) }
    }

    /// The inbox.
    pub fn inbox() -> FolderPath {
        FolderPath(vec!["INBOX".to_owned()])
    }

    /// The names from the root down.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The last name.
    pub fn leaf(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// The folder above, if any.
    pub fn parent(&self) -> Option<FolderPath> {
        let (_, above) = self.0.split_last()?;
        FolderPath::new(above.to_vec())
    }

    /// A folder below this one.
    #[must_use]
    pub fn child(&self, name: impl Into<String>) -> FolderPath {
        let mut names = self.0.clone();
        names.push(name.into());
        FolderPath(names)
    }

    /// Is this the inbox (`INBOX` in any case at the root, RFC 3501 §5.1)?
    pub fn is_inbox(&self) -> bool {
        matches!(self.0.as_slice(), [one] if one.eq_ignore_ascii_case("INBOX"))
    }
}

impl fmt::Debug for FolderPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FolderPath(depth {})", self.0.len())
    }
}

/// A folder's role (RFC 6154 and the inbox).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpecialUse {
    /// The inbox.
    Inbox,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
    /// `\All`
    All,
    /// `\Flagged`
    Flagged,
}
