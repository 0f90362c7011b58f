//! Which part becomes the body, and which parts become attachments.
//!
//! | in the message | in Graph |
//! |---|---|
//! | multipart/alternative | its HTML form, else its last plain form; other text forms are dropped (declared) |
//! | multipart/related | the root is shown, the rest are files; inline if the body refers to their Content-ID |
//! | S/MIME, the whole message | a message class of its own and one attachment ([`super::protected`]) |
//! | PGP, S/MIME within a part | what is readable, and the whole original as a file (declared) |
//! | multipart/mixed and any other | text parts without a file name are shown, joined in order (declared); the rest are files |
//! | message/rfc822, message/global | an attached message ([`super::nested`]), else a file with its exact octets (declared) |
//! | anything else (text/calendar, winmail.dat, delivery reports …) | a file with its decoded octets |

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;

use super::file::{File, is_message};
use super::{MAX_BODY, Original, losses, nested, protected};
use crate::transform::mime::{Head, Part, Structure};
use crate::transform::octets::Octets;

/// Attachments of one message (Exchange's limit).
pub const MAX_FILES: usize = 250;

/// What holds for all parts of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// When the original is attached.
    pub(super) original: Original,
    /// Nothing that a strict target may refuse: no attached messages, no message classes.
    pub(super) plain: bool,
    /// Largest attached message, as JSON, in bytes.
    pub(super) item: usize,
    /// How deep in attached messages: 0 for the message itself.
    pub(super) depth: usize,
}

/// A message, divided into what Graph takes.
#[derive(Clone, Default)]
pub(super) struct Chosen {
    /// The header block.
    pub(super) headers: Bytes,
    /// The message class, where it is not the usual one. Then the one attachment is all there is to the message.
    pub(super) class: Option<&'static str>,
    /// Is the body HTML?
    pub(super) html: bool,
    /// The body, with CRLF line ends.
    pub(super) body: String,
    /// The body is not all of the text.
    pub(super) cut: bool,
    /// The attachments, in the order of the message.
    pub(super) files: Vec<File>,
    /// The text as it stood in the message, to be attached where it is cut and the original is not attached.
    pub(super) texts: Vec<File>,
    /// Something is lost that only the whole original has.
    pub(super) lossy: bool,
    /// Without the original there is next to nothing.
    pub(super) unreadable: bool,
}

/// Chooses body and attachments.
pub(super) fn choose(
    octets: &Octets,
    rules: &Rules,
    losses: &mut BTreeSet<&'static str>,
) -> io::Result<Chosen> {
    let structure = Structure::read(octets)?;
    if structure.too_many {
        losses.insert(losses::STRUCTURE_UNREADABLE);
        return Ok(Chosen {
            headers: structure.headers,
            body: "This message has too many parts to be shown. The whole original is attached.\r\n"
                .to_owned(),
            lossy: true,
            unreadable: true,
            ..Chosen::default()
        });
    }
    if !rules.plain
        && let Some(protection) = protected::of(&structure)?
    {
        return protected(&structure, protection, losses);
    }
    if structure.outside {
        losses.insert(losses::OUTSIDE_PARTS);
    }
    let keep_parts = rules.original == Original::Never;
    let mut walk = Walk::new(&structure, keep_parts, losses);
    walk.part(0, Use::Show, true);
    let Walk { shown, files, protected, too_deep, .. } = walk;
    let mut chosen = Chosen { headers: structure.headers.clone(), ..Chosen::default() };
    chosen.lossy = protected || too_deep;
    chosen.unreadable = too_deep;
    if protected {
        losses.insert(if keep_parts { losses::PROTECTED_PARTS } else { losses::PROTECTED_ORIGINAL });
    }
    if too_deep {
        losses.insert(losses::STRUCTURE_UNREADABLE);
    }
    chosen.show(&structure, &shown, losses)?;
    if rules.original == Original::Never {
        chosen.attach_texts(&structure, &shown)?;
    }
    if shown.is_empty() && protected && !keep_parts {
        chosen.body =
            "This message is encrypted or signed as a whole. The whole original is attached.\r\n".to_owned();
    }
    for (n, i) in files.into_iter().enumerate() {
        if chosen.files.len() > MAX_FILES {
            break;
        }
        let part = &structure.parts[i];
        let (content, broken) = part.content()?;
        if broken {
            losses.insert(losses::ENCODING_BROKEN);
            chosen.lossy = true;
        }
        let file = File::part(&part.head, n + 1, content, |id| chosen.html && refers_to(&chosen.body, id));
        let file = if is_message(&part.head) { nested::attach(part, file, rules, losses)? } else { file };
        chosen.files.push(file);
    }
    if chosen.files.len() > MAX_FILES {
        losses.insert(losses::ATTACHMENTS_BEYOND_LIMIT);
        (chosen.lossy, chosen.unreadable) = (true, true);
    }
    Ok(chosen)
}

/// A message of a class of its own: the readable text is its body, everything lies in the one attachment.
fn protected(
    structure: &Structure,
    protection: protected::Protection,
    losses: &mut BTreeSet<&'static str>,
) -> io::Result<Chosen> {
    let mut chosen = Chosen {
        headers: structure.headers.clone(),
        class: Some(protection.class),
        files: vec![protection.file],
        ..Chosen::default()
    };
    if let Some(signed) = protection.readable {
        // Whatever the body does not show is in the attachment.
        let mut shown_only = BTreeSet::new();
        let mut walk = Walk::new(structure, false, &mut shown_only);
        walk.part(signed, Use::Show, true);
        let Walk { shown, files, .. } = walk;
        if !files.is_empty() {
            losses.insert(losses::SIGNED_ENTITY);
        }
        chosen.show(structure, &shown, &mut shown_only)?;
    }
    Ok(chosen)
}

impl Chosen {
    /// Makes the body of these parts.
    fn show(
        &mut self,
        structure: &Structure,
        shown: &[usize],
        losses: &mut BTreeSet<&'static str>,
    ) -> io::Result<()> {
        let part = |i: &usize| &structure.parts[*i];
        self.html = shown.iter().any(|i| part(i).head.is("text", "html"));
        if shown.len() > 1 {
            losses.insert(losses::BODY_JOINED);
        }
        for (n, part) in shown.iter().map(part).enumerate() {
            if self.body.len() > MAX_BODY {
                self.cut = true;
                break;
            }
            let text = part.text(MAX_BODY)?;
            self.cut |= text.cut;
            if text.broken {
                losses.insert(losses::ENCODING_BROKEN);
                self.lossy = true;
            }
            if text.guessed {
                losses.insert(losses::CHARSET_GUESSED);
            }
            if n > 0 {
                self.body.push_str(if self.html { "<hr>\r\n" } else { "\r\n" });
            }
            if self.html && !part.head.is("text", "html") {
                push_as_html(&mut self.body, &text.text);
            } else if let (0, Cow::Borrowed(_)) = (n, crlf(&text.text)) {
                self.body = text.text;
            } else {
                push_crlf(&mut self.body, &text.text);
            }
        }
        Ok(())
    }

    /// The texts as files.
    fn attach_texts(&mut self, structure: &Structure, shown: &[usize]) -> io::Result<()> {
        for (n, part) in shown.iter().map(|i| &structure.parts[*i]).enumerate().take(MAX_FILES) {
            let head = Head { name: None, content_id: None, ..part.head.clone() };
            self.texts.push(File::part(&head, n + 1, part.content()?.0, |_| false));
        }
        Ok(())
    }
}

/// What becomes of the parts below.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Text is shown, the rest are files.
    Show,
    /// Another form of what is shown: text is dropped, the rest are files.
    Other,
    /// Everything is a file.
    Attach,
}

struct Walk<'a> {
    structure: &'a Structure,
    /// The parts of what is signed or encrypted are files: the original will not be there.
    keep_parts: bool,
    shown: Vec<usize>,
    files: Vec<usize>,
    protected: bool,
    too_deep: bool,
    losses: &'a mut BTreeSet<&'static str>,
}

impl<'a> Walk<'a> {
    fn new(structure: &'a Structure, keep_parts: bool, losses: &'a mut BTreeSet<&'static str>) -> Walk<'a> {
        let (shown, files) = (Vec::new(), Vec::new());
        Walk { structure, keep_parts, shown, files, protected: false, too_deep: false, losses }
    }

    /// `form`: the part stands where a form of the text must stand, so a name does not make it a file. Depth is bounded
    /// by [`crate::transform::mime::MAX_DEPTH`].
    fn part(&mut self, index: usize, usage: Use, form: bool) {
        let structure = self.structure;
        let Part { head, children, too_deep, .. } = &structure.parts[index];
        if head.main == "multipart" {
            match head.sub.as_str() {
                _ if *too_deep => self.too_deep = true,
                "encrypted" => {
                    self.protected = true;
                    if self.keep_parts {
                        self.attach(index);
                    }
                }
                // A multipart without its delimiter: its octets are text of sorts.
                _ if children.is_empty() => self.single(index, usage),
                "signed" => {
                    self.protected = true;
                    for &child in children {
                        if !protected::is_signature(&structure.parts[child].head) {
                            self.part(child, usage, form);
                        } else if self.keep_parts {
                            self.files.push(child);
                        }
                    }
                }
                "alternative" => {
                    let best = children
                        .iter()
                        .rfind(|c| self.holds(**c, &|h| h.is("text", "html")))
                        .or_else(|| children.iter().rfind(|c| self.holds(**c, &is_text)));
                    for &child in children {
                        let usage =
                            if Some(&child) == best || usage != Use::Show { usage } else { Use::Other };
                        self.part(child, usage, true);
                    }
                }
                "related" => {
                    let root = head.start.as_ref().and_then(|start| {
                        children.iter().find(|c| structure.parts[**c].head.content_id.as_ref() == Some(start))
                    });
                    let root = root.or(children.first());
                    for &child in children {
                        let (usage, form) =
                            if Some(&child) == root { (usage, true) } else { (Use::Attach, false) };
                        self.part(child, usage, form);
                    }
                }
                _ => children.iter().for_each(|&child| self.part(child, usage, false)),
            }
            return;
        }
        let unnamed = head.name.is_none() || form;
        if is_text(head) && !head.attachment && unnamed && usage != Use::Attach {
            if usage == Use::Show {
                self.shown.push(index);
            } else {
                self.losses.insert(losses::ALTERNATIVE_TEXT);
            }
        } else if protected::is_opaque(head) {
            self.protected = true;
            if self.keep_parts {
                self.files.push(index);
            }
        } else {
            self.files.push(index);
        }
    }

    fn single(&mut self, index: usize, usage: Use) {
        if usage == Use::Show {
            self.shown.push(index);
        } else {
            self.files.push(index);
        }
    }

    /// All that is below it becomes files.
    fn attach(&mut self, index: usize) {
        let part = &self.structure.parts[index];
        if part.children.is_empty() {
            self.files.push(index);
        }
        part.children.iter().for_each(|&child| self.attach(child));
    }

    fn holds(&self, index: usize, wanted: &dyn Fn(&Head) -> bool) -> bool {
        let part = &self.structure.parts[index];
        (wanted(&part.head) && !part.head.attachment) || part.children.iter().any(|c| self.holds(*c, wanted))
    }
}

fn is_text(head: &Head) -> bool {
    head.main == "text" && matches!(head.sub.as_str(), "plain" | "html" | "")
}

/// Does the HTML refer to a part by its Content-ID (RFC 2392), as written or percent-encoded?
fn refers_to(html: &str, id: &str) -> bool {
    let find = |id: &str| memchr::memmem::find(html.as_bytes(), format!("cid:{id}").as_bytes()).is_some();
    let encoded = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string();
    let at_only = id.replace('@', "%40");
    find(id) || find(&at_only) || find(&encoded)
}

/// Appends text with CRLF line ends.
pub(super) fn push_crlf(out: &mut String, text: &str) {
    out.push_str(&crlf(text));
}

/// The text with every line end (CRLF, LF, CR) as CRLF.
pub(super) fn crlf(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let bare = |at: usize| match bytes[at] {
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        _ => bytes.get(at + 1) != Some(&b'\n'),
    };
    if !memchr::memchr2_iter(b'\r', b'\n', bytes).any(bare) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    let mut from = 0;
    for at in memchr::memchr2_iter(b'\r', b'\n', bytes).filter(|at| bare(*at)) {
        out.push_str(&text[from..at]);
        out.push_str("\r\n");
        from = at + 1;
    }
    out.push_str(&text[from..]);
    Cow::Owned(out)
}

fn push_as_html(out: &mut String, text: &str) {
    out.push_str("<div style=\"white-space:pre-wrap\">");
    for c in crlf(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    out.push_str("</div>\r\n");
}
