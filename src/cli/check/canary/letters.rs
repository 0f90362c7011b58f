//! The canaries: messages that hold what targets are known to change.

use bytes::Bytes;

use crate::env::Env;
use crate::model::{Flags, Timestamp};

/// One canary.
#[derive(Clone)]
pub(super) struct Letter {
    /// What it tries out.
    pub name: &'static str,
    pub octets: Bytes,
    pub flags: Flags,
    pub received: Timestamp,
}

/// 1999-12-31T23:59:58Z: older than any server that is asked.
const OLD: i64 = 946_684_798;

/// All of them. `largest`: those above what the target takes are left out, in bytes.
pub(super) fn all(env: &Env, largest: u64) -> Vec<Letter> {
    let tag = format!("{:016x}", env.random(u64::MAX));
    let letters = [
        ("plain, read", "\\Seen", plain(&tag, "hello")),
        ("plain, unread", "", plain(&tag, "unread")),
        ("flagged and answered", "\\Seen \\Flagged \\Answered", plain(&tag, "flagged")),
        ("keyword", "\\Seen project", plain(&tag, "keyword")),
        ("draft", "\\Draft", plain(&tag, "draft")),
        ("8-bit", "\\Seen", eight_bit(&tag)),
        ("HTML with an inline image", "\\Seen", related(&tag)),
        ("message in a message", "\\Seen", nested(&tag)),
        ("signed (S/MIME)", "\\Seen", signed(&tag)),
        ("encrypted (S/MIME)", "\\Seen", opaque(env, &tag)),
        ("attachment of 4 MB", "\\Seen", attached(env, &tag, 4_000_000)),
        ("attachment of 30 MB", "\\Seen", attached(env, &tag, 30_000_000)),
    ];
    let letters = letters.into_iter().enumerate().map(|(n, (name, flags, octets))| {
        let mut set = Flags::default();
        flags.split_whitespace().for_each(|flag| set.add(flag));
        Letter { name, octets: octets.into(), flags: set, received: Timestamp::utc(OLD + n as i64 * 86_400) }
    });
    letters.filter(|letter| letter.octets.len() as u64 <= largest).collect()
}

/// A header without its end; `more`: further fields.
fn header(tag: &str, kind: &str, more: &str) -> String {
    format!(
        "Received: from canary.invalid by source.invalid; Fri, 31 Dec 1999 23:59:58 +0000\r\n\
         From: \"Canary\" <canary@example.invalid>\r\nTo: <nobody@example.invalid>\r\n\
         Subject: mailwave canary: {kind}\r\nMessage-ID: <{tag}.{id}@canary.invalid>\r\n\
         Date: Fri, 31 Dec 1999 23:00:00 +0000\r\nIn-Reply-To: <before@canary.invalid>\r\n\
         References: <first@canary.invalid> <before@canary.invalid>\r\n\
         X-Canary: kept\r\nDKIM-Signature: v=1; a=rsa-sha256; d=canary.invalid; s=x; h=from; bh=AA==; b=AA==\r\n{more}",
        id = kind.replace(' ', "-"),
    )
}

fn plain(tag: &str, kind: &str) -> Vec<u8> {
    let more = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n";
    format!(
        "{}A canary of mailwave. It may be removed.\r\n\r\n-- \r\ntwo  blanks\r\n",
        header(tag, kind, more)
    )
    .into()
}

fn eight_bit(tag: &str) -> Vec<u8> {
    let more = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";
    let mut octets = header(tag, "8-bit", "X-Raw: ").into_bytes();
    octets.extend_from_slice(b"Gr\xfc\xdfe\r\n");
    octets.extend_from_slice(more.as_bytes());
    octets.extend_from_slice(b"Sch\xf6ne Gr\xfc\xdfe\r\n");
    octets
}

fn related(tag: &str) -> Vec<u8> {
    let more = "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=\"rel\"\r\n\r\n";
    let image = "R0lGODlhAQABAAAAACw=";
    format!(
        "{}--rel\r\nContent-Type: multipart/alternative; boundary=\"alt\"\r\n\r\n--alt\r\nContent-Type: text/plain\r\n\r\n\
         A picture.\r\n--alt\r\nContent-Type: text/html\r\n\r\n<p>A picture: <img src=\"cid:one@canary\"></p>\r\n--alt--\r\n\
         --rel\r\nContent-Type: image/gif; name=\"one.gif\"\r\nContent-ID: <one@canary>\r\n\
         Content-Disposition: inline; filename=\"one.gif\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{image}\r\n--rel--\r\n",
        header(tag, "html", more)
    )
    .into()
}

fn nested(tag: &str) -> Vec<u8> {
    let more = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"mix\"\r\n\r\n";
    let inner = String::from_utf8_lossy(&plain(tag, "inner")).into_owned();
    format!(
        "{}--mix\r\nContent-Type: text/plain\r\n\r\nSee the message below.\r\n--mix\r\nContent-Type: message/rfc822\r\n\r\n\
         {inner}--mix--\r\n",
        header(tag, "nested", more)
    )
    .into()
}

fn signed(tag: &str) -> Vec<u8> {
    let more = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\";\r\n \
                micalg=sha-256; boundary=\"sig\"\r\n\r\n";
    format!(
        "{}--sig\r\nContent-Type: text/plain\r\n\r\nSigned,  with blanks  \r\nat the ends.\r\n--sig\r\n\
         Content-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"smime.p7s\"\r\n\r\nMIIBAgMEBQYHCAk=\r\n--sig--\r\n",
        header(tag, "signed", more)
    )
    .into()
}

fn opaque(env: &Env, tag: &str) -> Vec<u8> {
    let more = "MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=\"smime.p7m\"\r\n\
                Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7m\"\r\n\r\n";
    let mut octets = header(tag, "encrypted", more).into_bytes();
    push_base64(&mut octets, env, 3_000);
    octets
}

fn attached(env: &Env, tag: &str, size: usize) -> Vec<u8> {
    let more = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"mix\"\r\n\r\n\
                --mix\r\nContent-Type: text/plain\r\n\r\nOne file.\r\n--mix\r\n\
                Content-Type: application/octet-stream; name=\"file.bin\"\r\n\
                Content-Disposition: attachment; filename=\"file.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let mut octets = header(tag, &format!("{size}"), more).into_bytes();
    push_base64(&mut octets, env, size);
    octets.extend_from_slice(b"--mix--\r\n");
    octets
}

/// About so many random octets as lines of base64.
fn push_base64(out: &mut Vec<u8>, env: &Env, size: usize) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.reserve(size / 57 * 78);
    // Ten digits a draw; 76 a line.
    for _ in 0..size.div_ceil(57) {
        let mut line = 0;
        while line < 76 {
            let mut draw = env.random(u64::MAX);
            for _ in 0..10.min(76 - line) {
                out.push(DIGITS[(draw & 63) as usize]);
                draw >>= 6;
                line += 1;
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}
