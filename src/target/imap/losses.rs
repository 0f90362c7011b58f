//! What a copy on an IMAP server may lose, by short name.

/// Keywords that could not be kept.
pub(super) const KEYWORDS: &str = "keywords";
/// System flags that the folder does not keep.
pub(super) const FLAGS: &str = "flags";
/// No received date at the source: it was made. A name that other targets use too.
pub(super) use crate::transform::graph::losses::RECEIVED_MADE;

/// The received date is another one at the server.
pub(super) const DATE: &str = "date-changed-by-server";
/// The octets are others at the server.
pub(super) const OCTETS: &str = "octets-changed-by-server";

/// Bare LF became CRLF: the server takes nothing else.
pub(super) const LINE_ENDS: &str = "line-ends";

/// Every loss of its own with what it means, for the report.
pub const ALL: [(&str, &str); 5] = [
    (LINE_ENDS, "the server refused the message with its bare LF line ends; they were made CRLF"),
    (KEYWORDS, "keywords that the target's folder cannot hold are not kept"),
    (FLAGS, "the target's folder does not keep one of the system flags"),
    (
        DATE,
        "the server put another received date in the place of the one it was given (dates in the future, or before 1970)",
    ),
    (OCTETS, "the server changed octets of the message (NUL, bare line ends, 8-bit headers)"),
];
