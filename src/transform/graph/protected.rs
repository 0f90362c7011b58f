//! Signed and encrypted messages, so that signatures can still be checked and contents still be decrypted.
//!
//! | the whole message is | class | its one attachment |
//! |---|---|---|
//! | application/pkcs7-mime (S/MIME: opaque-signed, encrypted, compressed) | `IPM.Note.SMIME` | `smime.p7m`: the CMS octets |
//! | multipart/signed by application/pkcs7-signature (S/MIME) | `IPM.Note.SMIME.MultipartSigned` | `smime.p7m`: the whole signed entity, octet for octet |
//! | multipart/signed, multipart/encrypted of PGP (RFC 3156) | the usual one | the whole original as `.eml`, beside what is readable |
//!
//! Mail programs for Exchange read the first two as signed and encrypted mail (MS-OXOSMIME §2.1, §2.2); they expect
//! exactly one attachment, so none is added. The last rule also holds for S/MIME within a part (a list server put a footer
//! beside it), for a CMS blob whose base64 is broken, and where the target refused a class.

use std::io;

use bytes::Bytes;

use super::file::File;
use crate::transform::base64::Content;
use crate::transform::mime::{Encoding, Head, Structure, content_fields};

/// Class of opaque S/MIME messages.
const OPAQUE: &str = "IPM.Note.SMIME";
/// Class of clear-signed ones.
const CLEAR_SIGNED: &str = "IPM.Note.SMIME.MultipartSigned";
/// The name that both give their attachment.
const NAME: &str = "smime.p7m";

/// How a message is protected as a whole.
pub(super) struct Protection {
    pub(super) class: &'static str,
    /// The attachment that is the message.
    pub(super) file: File,
    /// The part that can be read without a key.
    pub(super) readable: Option<usize>,
}

/// Its protection, if it is an S/MIME message as a whole.
pub(super) fn of(structure: &Structure) -> io::Result<Option<Protection>> {
    let Some(root) = structure.parts.first() else { return Ok(None) };
    if is_opaque(&root.head) {
        let (content, broken) = root.content()?;
        if broken || content.is_empty() {
            return Ok(None);
        }
        let file = File::new(NAME, "application/pkcs7-mime", content);
        return Ok(Some(Protection { class: OPAQUE, file, readable: None }));
    }
    let signature = root.children.get(1).map(|at| &structure.parts[*at].head);
    if root.head.is("multipart", "signed")
        // RFC 1847 §2.1: two parts, and nothing that would encode the whole (RFC 2045 §6.4).
        && root.children.len() == 2
        && root.head.encoding == Encoding::Identity
        && signature.is_some_and(|head| head.main == "application" && head.sub.ends_with("pkcs7-signature"))
    {
        let mut head = content_fields(&structure.headers);
        // Its own line end, in case it is not CRLF.
        let line_end: &[u8] = if head.ends_with(b"\r\n") || !head.ends_with(b"\n") { b"\r\n" } else { b"\n" };
        if !head.ends_with(b"\n") {
            head.extend_from_slice(line_end);
        }
        head.extend_from_slice(line_end);
        let entity = Content::from(Bytes::from(head)).then(root.body.clone().into());
        let file = File::new(NAME, "multipart/signed", entity);
        return Ok(Some(Protection { class: CLEAR_SIGNED, file, readable: root.children.first().copied() }));
    }
    Ok(None)
}

/// Is the part a CMS object, not text?
pub(super) fn is_opaque(head: &Head) -> bool {
    head.main == "application" && matches!(head.sub.as_str(), "pkcs7-mime" | "x-pkcs7-mime")
}

/// Is the part the signature of another one?
pub(super) fn is_signature(head: &Head) -> bool {
    head.main == "application"
        && matches!(head.sub.as_str(), "pgp-signature" | "pkcs7-signature" | "x-pkcs7-signature")
}
