//! Which items are taken as streams: those that are shown as messages, and fit into one request.

use crate::model::{Error, Form, Kind, Outcome, Scope};
use crate::target::StoreItem;

/// Largest stream, in bytes: in base64 one request takes what a mailbox may be sent in five minutes (150 MB).
pub(super) const LARGEST: u64 = 112_000_000;
/// Classes of items that are never shown as messages (MS-OXCMSG and the pages of each kind), in lower case.
const NO_MAIL: &[&str] = &[
    "ipm.contact",
    "ipm.distlist",
    "ipm.abchperson",
    "ipm.appointment",
    "ipm.task",
    "ipm.stickynote",
    "ipm.activity",
    "ipm.ole.class",
    "ipm.microsoft.scheduledata",
];

/// Classes that are always shown as messages.
const MAIL: &[&str] = &["ipm.note", "report", "ipm.schedule.meeting"];

/// Is the class one of these, or a kind of one of them? In any case.
fn is_one_of(class: &str, known: &[&str]) -> bool {
    let class = class.to_ascii_lowercase();
    let begins =
        |known: &str| class.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    known.iter().any(|known| begins(known))
}

/// Is the item shown as a message for certain?
pub(super) fn is_mail(item: &StoreItem) -> bool {
    matches!(&item.form, Form::Stream { class } if is_one_of(class, MAIL))
}

/// What is refused before anything is sent.
pub(super) fn refusal(item: &StoreItem) -> Option<Outcome> {
    let Form::Stream { class } = &item.form else {
        return Some(Outcome::Refused(Error::new(
            Kind::Refused,
            Scope::Message,
            "a message is no stream of an item",
        )));
    };
    if is_one_of(class, NO_MAIL) {
        return Some(Outcome::Refused(no_message()));
    }
    if item.body.is_empty() {
        let error = Error::new(Kind::Refused, Scope::Message, "the item's stream is empty");
        return Some(Outcome::Refused(error.remedy("export the item again")));
    }
    (item.body.len() > LARGEST).then(|| {
        let what = "the item is larger than one import may be (112 MB)";
        Outcome::Refused(
            Error::new(Kind::TooLarge, Scope::Message, what).remedy("hand the item over as a file"),
        )
    })
}

/// Its class is none that can be marked and found.
pub(super) fn no_message() -> Error {
    let what = "items of this class are not shown as messages: a copy could not be marked, nor found again";
    Error::new(Kind::Refused, Scope::Message, what)
        .remedy("move contacts, calendars and tasks by another way, a PST file for one")
}
