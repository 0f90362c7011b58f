//! A message within a message: attached as a message where nothing of it is lost that is kept of any message, else as a
//! file.
//!
//! An attached message is built like the message itself: body, attachments, dates, people, the whole header block. The
//! file with its exact octets stands in where that would lose more (a protected message, broken encodings, texts that
//! had to be joined or guessed, no header), where it is too large for one request (only files go by upload session), and
//! deeper than [`MAX_ITEMS`] messages.

use std::collections::BTreeSet;
use std::io;

use super::addresses::Fields;
use super::content::{Chosen, Rules, choose};
use super::file::File;
use super::{losses, props, write_body, write_headers};
use crate::transform::json::{Array, Object};
use crate::transform::mime::{Encoding, Part};
use crate::transform::octets::Octets;

/// Messages within messages that are attached as messages.
pub const MAX_ITEMS: usize = 3;
/// Losses of a nested message that every mail program shows it with.
const HARMLESS: [&str; 1] = [losses::ALTERNATIVE_TEXT];

/// The nested message as an item, if it can be one; else `file`.
pub(super) fn attach(
    part: &Part,
    file: File,
    rules: &Rules,
    losses: &mut BTreeSet<&'static str>,
) -> io::Result<File> {
    if !rules.plain
        && rules.depth < MAX_ITEMS
        && part.head.encoding == Encoding::Identity
        && let Some((item, mine)) = item(&part.body, rules)?
    {
        losses.extend(mine);
        return Ok(item);
    }
    losses.insert(losses::NESTED_AS_FILE);
    Ok(file)
}

fn item(octets: &Octets, rules: &Rules) -> io::Result<Option<(File, BTreeSet<&'static str>)>> {
    if octets.is_empty() || octets.len() > rules.item {
        return Ok(None);
    }
    let rules = Rules { depth: rules.depth + 1, ..*rules };
    let mut losses = BTreeSet::new();
    let chosen = choose(octets, &rules, &mut losses)?;
    let Chosen {
        headers, html, body, files, class: None, cut: false, lossy: false, unreadable: false, ..
    } = chosen
    else {
        return Ok(None);
    };
    if headers.is_empty() {
        return Ok(None);
    }
    let fields = Fields::read(&headers, &mut losses);
    let mut out = String::with_capacity(octets.len() + octets.len() / 4 + 1024);
    let mut object = Object::begin(&mut out);
    object.text("@odata.type", "#microsoft.graph.message");
    fields.write(&mut object, &mut losses);
    write_body(&mut object, html, &body);
    if !files.is_empty() {
        let mut array = Array::begin(object.key("attachments"));
        for file in &files {
            if array.written() + file.json_len() > rules.item {
                return Ok(None);
            }
            file.write(array.item())?;
        }
        array.end();
    }
    let mut array = Array::begin(object.key("singleValueExtendedProperties"));
    props::write(array.item(), props::MESSAGE_FLAGS, "5"); // read, and sent: not a draft
    if let Some(date) = fields.date {
        let date = date.to_rfc3339();
        props::write(array.item(), props::DELIVERY_TIME, &date);
        props::write(array.item(), props::SUBMIT_TIME, &date);
    }
    write_headers(&mut array, &headers, &fields, &mut losses);
    array.end();
    object.end();
    if out.len() > rules.item || losses.iter().any(|loss| !HARMLESS.contains(loss)) {
        return Ok(None);
    }
    Ok(Some((File::item(&fields.subject, out), losses)))
}
