//! What a Graph copy cannot keep of a message, declared: short names for the facts and the report.
//!
//! Common to every copy and therefore not repeated per message: Graph keeps no MIME. It holds one body, the decoded
//! attachments with their names and types, and the original header block (MAPI property 0x007D).

/// Addresses that are no addresses were left out of the recipient fields; they stay in the header block.
pub const ADDRESS_DROPPED: &str = "address-dropped";
/// The message had its text in several forms (plain, HTML); only the HTML form is kept.
pub const ALTERNATIVE_TEXT: &str = "alternative-text";
/// More attachments than a message may have; the rest is in the attached original.
pub const ATTACHMENTS_BEYOND_LIMIT: &str = "attachments-beyond-limit";
/// Several text parts were joined into the one body.
pub const BODY_JOINED: &str = "body-joined";
/// The text is too large for one request: it was cut, visibly, and all of it is attached (in the original, or as files).
pub const BODY_TRUNCATED: &str = "body-truncated";
/// A text part named no charset, or a wrong one: UTF-8 was taken if it fits, else Windows-1252.
pub const CHARSET_GUESSED: &str = "charset-guessed";
/// `\Deleted` has no counterpart.
pub const DELETED_FLAG: &str = "deleted-flag";
/// A part's base64 or quoted-printable was broken: what could be read was kept, and the whole original is attached,
/// unless that was not wanted.
pub const ENCODING_BROKEN: &str = "encoding-broken";
/// `From` named several people; the first is the author, all stay in the header block.
pub const EXTRA_FROM: &str = "extra-from";
/// Recipient groups were replaced by their members.
pub const GROUP_NAMES: &str = "group-names";
/// The header held raw 8-bit octets that are not UTF-8; they were read as Windows-1252.
pub const HEADER_CHARSET_GUESSED: &str = "header-charset-guessed";
/// The header block is larger than what the property may hold; its end was cut.
pub const HEADERS_TRUNCATED: &str = "headers-truncated";
/// A keyword cannot be a category (a comma, too long, too many).
pub const KEYWORD_DROPPED: &str = "keyword-dropped";
/// The Message-ID is not one; the target makes its own, the original stays in the header block.
pub const MESSAGE_ID_DROPPED: &str = "message-id-dropped";
/// A nested message became an attached `.eml` file with its exact octets, because an attached message would lose more.
pub const NESTED_AS_FILE: &str = "nested-as-file";
/// The message has no header; all its octets became the body.
pub const NO_HEADERS: &str = "no-headers";
/// Text before the first or behind the last part of a multipart is not kept (mail programs do not show it).
pub const OUTSIDE_PARTS: &str = "outside-parts";
/// Signed or encrypted: the readable part is the body, and the whole original is attached so that the signature can
/// still be checked and the content still be decrypted.
pub const PROTECTED_ORIGINAL: &str = "protected-original";
/// Signed or encrypted, and the original was not wanted: the readable part is the body, the other parts are files. The
/// content is all there; the signature can no longer be checked.
pub const PROTECTED_PARTS: &str = "protected-parts";
/// The source had no received date; the `Date` header, or failing that 1970, was taken.
pub const RECEIVED_MADE: &str = "received-made";
/// More recipients than fit in one request; the rest stays in the header block.
pub const RECIPIENTS_TRUNCATED: &str = "recipients-truncated";
/// No readable `Date` header: the received date is shown as the sent date.
pub const SENT_MADE: &str = "sent-made";
/// S/MIME signed: the text is the body; attachments are in the signed entity only, which is kept octet for octet.
pub const SIGNED_ENTITY: &str = "signed-entity";
/// The structure could not be read; the whole original is attached.
pub const STRUCTURE_UNREADABLE: &str = "structure-unreadable";
/// The subject was longer than 255 characters.
pub const SUBJECT_TRUNCATED: &str = "subject-truncated";

/// Every loss with what it means, for the report.
pub const ALL: [(&str, &str); 25] = [
    (ADDRESS_DROPPED, "an address that is none was left out of the recipients; it stays in the header block"),
    (ALTERNATIVE_TEXT, "of several forms of the text only HTML is kept"),
    (ATTACHMENTS_BEYOND_LIMIT, "attachments beyond the 250th are in the attached original only"),
    (BODY_JOINED, "several text parts were joined into one body"),
    (BODY_TRUNCATED, "the text was cut to fit one request; all of it is attached"),
    (CHARSET_GUESSED, "a text part named no charset or a wrong one; it was guessed"),
    (DELETED_FLAG, "the mark for deletion has no counterpart"),
    (ENCODING_BROKEN, "a part's encoding was broken; the whole original is attached, if that is wanted"),
    (EXTRA_FROM, "only the first of several authors is shown"),
    (GROUP_NAMES, "recipient groups were replaced by their members"),
    (HEADER_CHARSET_GUESSED, "raw 8-bit header octets were read as Windows-1252"),
    (HEADERS_TRUNCATED, "the end of a very large header block was cut"),
    (KEYWORD_DROPPED, "a keyword cannot be a category"),
    (MESSAGE_ID_DROPPED, "the Message-ID is not a valid one"),
    (NESTED_AS_FILE, "a nested message is attached as a file"),
    (NO_HEADERS, "the message has no header; all of it is the body"),
    (OUTSIDE_PARTS, "text outside the parts of a multipart is not kept"),
    (PROTECTED_ORIGINAL, "signed or encrypted: the whole original is attached as well"),
    (
        PROTECTED_PARTS,
        "signed or encrypted: its parts are attached, the signature cannot be checked any more",
    ),
    (RECEIVED_MADE, "no received date at the source; taken from the Date header, else 1970"),
    (RECIPIENTS_TRUNCATED, "very many recipients: the rest stays in the header block"),
    (SENT_MADE, "no readable Date header; the received date stands in"),
    (SIGNED_ENTITY, "S/MIME signed: attachments are in the signed entity, which is attached as it came"),
    (STRUCTURE_UNREADABLE, "the structure could not be read; the whole original is attached"),
    (SUBJECT_TRUNCATED, "the subject was cut to 255 characters"),
];
