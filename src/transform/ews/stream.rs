//! An item as the opaque stream a store exported it as: it travels as it is.

use encodify::base64::STANDARD;

use crate::model::{Error, Kind, Scope};
use crate::transform::xml;

/// What a store puts at the end of an export that it did not finish.
/// Source: Exchange documentation, "Export items by using EWS in Exchange".
const CUT: &[u8] = b"=== Truncated Data ===";

/// Was this export cut short? It must never be stored: a part of an item would pass for all of it.
pub fn is_cut(octets: &[u8]) -> bool {
    octets.trim_ascii_end().ends_with(CUT)
}

/// An export that was cut short; the store gives all of it later.
pub fn cut_short(what: &str) -> Error {
    Error::temporary(Kind::Protocol, Scope::Message, format!("{what}: the export of an item was cut short"))
        .remedy("try again later; after eight hours ask whoever runs the server that exported it")
}

/// Appends the `t:Item` of an upload into this folder.
///
/// # Errors
/// `Refused` for no octets at all; nothing was appended then.
pub fn item(out: &mut String, folder: &str, octets: &[u8]) -> Result<(), Error> {
    if octets.is_empty() {
        return Err(Error::new(Kind::Refused, Scope::Message, "the item has no octets")
            .remedy("nothing to move; look at it at the source and approve it"));
    }
    out.push_str("<t:Item CreateAction=\"CreateNew\">");
    xml::empty(out, "t:ParentFolderId", &[("Id", folder)]);
    xml::open(out, "t:Data");
    STANDARD.encode_append(octets, out);
    xml::close(out, "t:Data");
    xml::close(out, "t:Item");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_travels_as_it_is_and_an_empty_one_not_at_all() {
        let mut out = String::new();
        item(&mut out, "a&b", b"\0\xff").expect("built");
        assert_eq!(
            out,
            "<t:Item CreateAction=\"CreateNew\"><t:ParentFolderId Id=\"a&amp;b\"/><t:Data>AP8=</t:Data></t:Item>"
        );
        let mut out = String::new();
        assert_eq!(item(&mut out, "a", b"").map_err(|e| e.kind), Err(Kind::Refused));
        assert!(out.is_empty());
    }

    #[test]
    fn an_export_that_was_cut_is_known_by_its_end() {
        for (octets, cut) in [
            (&b"\x01\x02=== Truncated Data ==="[..], true),
            (b"=== Truncated Data ===\r\n", true),
            (b"=== Truncated Data === and more", false),
            (b"", false),
        ] {
            assert_eq!(is_cut(octets), cut);
        }
        assert!(cut_short("x").may_pass());
    }
}
