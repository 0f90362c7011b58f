//! The commented configuration that `mailwave init` writes and README.md shows: every key, its unit and its default.

/// The commented configuration. It parses as it is; a line `#key = …` names a key with its default (a line `# …` is
/// talk). Tests hold it to both.
pub const REFERENCE: &str = include_str!("reference.toml");

/// The example of `mailboxes.csv` that `mailwave init` writes.
pub const EXAMPLE_MAILBOXES: &str = "\
source,target,wave
ann@example.org,ann@contoso.onmicrosoft.com,pilot
bob@example.org,bob@contoso.onmicrosoft.com,pilot
";
