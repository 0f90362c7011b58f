//! What an answer means: one place that judges HTTP statuses and EWS response codes.
//!
//! An answer is an envelope around one response message for each thing that was asked, in order, each with a code of its
//! own; or a SOAP fault about the whole request, which servers also send with status 200. Codes are matched, texts never:
//! they may hold addresses and subjects, and depend on the server's language.

use std::time::Duration;

use http::StatusCode;

use super::tree::{Element, Tree};
use crate::limit::Answer;
use crate::model::{Error, Kind, Outcome, Scope};

/// Longest wait we take from a server; a longer one is cut, and the engine asks again then.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Why a request gave nothing, by what the target may have done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It did nothing: not sent, throttled, no rights, no folder.
    NotSent(Error),
    /// It began, and left this one alone: the minute of a batch was over.
    Stopped(Error),
    /// It looked at the content and said no.
    Refused(Error),
    /// It may have done it.
    Unknown(Error),
}

impl Fault {
    pub(super) fn error(&self) -> &Error {
        match self {
            Fault::NotSent(e) | Fault::Stopped(e) | Fault::Refused(e) | Fault::Unknown(e) => e,
        }
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Fault::NotSent(e) | Fault::Stopped(e) | Fault::Refused(e) | Fault::Unknown(e) => e,
        }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Fault::NotSent(e) | Fault::Stopped(e) => Outcome::NotSent(e),
            Fault::Refused(e) => Outcome::Refused(e),
            Fault::Unknown(e) => Outcome::Unknown(e),
        }
    }
}

/// An answer with response messages. No `Debug`: it may hold anything.
pub(super) struct Reply {
    tree: Tree,
    /// From the first octet sent to the last received.
    pub(super) took: Duration,
}

impl Reply {
    /// The response messages, in order.
    pub(super) fn messages(&self) -> Vec<Element<'_>> {
        let body = self.tree.root().child("Body");
        let list = body.and_then(|b| b.children().next()).and_then(|r| r.child("ResponseMessages"));
        list.map(|l| l.children().collect()).unwrap_or_default()
    }

    /// What the server says it is: its version, in numbers.
    pub(super) fn server(&self) -> Option<String> {
        let info = self.tree.root().path(&["Header", "ServerVersionInfo"])?;
        let parts = ["MajorVersion", "MinorVersion", "MajorBuildNumber", "MinorBuildNumber"];
        let parts: Option<Vec<String>> =
            parts.iter().map(|part| Some(info.attribute(part)?.parse::<u32>().ok()?.to_string())).collect();
        Some(format!("Exchange {}", parts?.join(".")))
    }

    /// What the gate learns from it.
    pub(super) fn for_gate(&self) -> Answer {
        let throttled = self.messages().into_iter().find_map(|message| {
            let said = Said::of(message);
            is_throttle(&said.code).then_some(said.wait)
        });
        throttled.map_or(Answer::Served, Answer::Throttled)
    }
}

/// Judges an answer to the operation `op`. `wait` is the `Retry-After` of its head; `what` was asked, for the text.
pub(super) fn read(
    status: StatusCode,
    wait: Option<Duration>,
    body: &[u8],
    op: &str,
    what: &str,
) -> Result<Reply, Fault> {
    let tree = Tree::parse(body).filter(|tree| tree.root().name() == "Envelope");
    if let Some(fault) = tree.as_ref().and_then(|t| t.root().path(&["Body", "Fault"])) {
        let mut said = Said::of_fault(fault);
        said.wait = said.wait.or(wait);
        if !said.code.is_empty() {
            return Err(by_code(&said, what));
        }
    } else if status == StatusCode::OK
        && let Some(tree) = tree
    {
        let response = tree.root().child("Body").and_then(|b| b.children().next());
        let asked = response.is_some_and(|r| r.name().strip_suffix("Response") == Some(op));
        if asked && response.is_some_and(|r| r.child("ResponseMessages").is_some()) {
            return Ok(Reply { tree, took: Duration::ZERO });
        }
    }
    Err(by_status(status.as_u16(), wait, what))
}

/// What the gate learns from a fault about a whole request.
pub(super) fn for_gate(fault: &Fault) -> Answer {
    match fault {
        Fault::Unknown(_) => Answer::Unknown,
        other if other.error().kind == Kind::Throttled => Answer::Throttled(other.error().retry_after),
        _ => Answer::Served,
    }
}

/// Takes a response message that says it was done; anything else is a fault.
pub(super) fn done<'a>(message: Element<'a>, what: &str) -> Result<Element<'a>, Fault> {
    let said = Said::of(message);
    if message.attribute("ResponseClass") == Some("Success") && said.code == "NoError" {
        return Ok(message);
    }
    if said.code.is_empty() || said.code == "NoError" {
        return Err(Fault::Unknown(unreadable(what)));
    }
    Err(by_code(&said, what))
}

/// An answer that cannot be read, or is about something else.
pub(super) fn unreadable(what: &str) -> Error {
    Error::temporary(Kind::Protocol, Scope::Mailbox, format!("{what}: the target's answer is not readable"))
}

/// A code and the wait that came with it.
#[derive(Debug, Default)]
struct Said {
    code: String,
    wait: Option<Duration>,
}

impl Said {
    fn of(message: Element<'_>) -> Said {
        Said::new(message.child("ResponseCode").map(Element::text), message.child("MessageXml"))
    }

    fn of_fault(fault: Element<'_>) -> Said {
        let detail = fault.child("detail").or_else(|| fault.child("Detail"));
        let code = detail.and_then(|d| d.child("ResponseCode")).map(Element::text);
        // Some put the code into the fault's own: `a:ErrorServerBusy`.
        let own = || {
            let code = fault.child("faultcode").map(Element::text)?;
            let local = code.rsplit(':').next().unwrap_or(code);
            local.starts_with("Error").then_some(local)
        };
        Said::new(code.or_else(own), detail.and_then(|d| d.child("MessageXml")))
    }

    fn new(code: Option<&str>, xml: Option<Element<'_>>) -> Said {
        let value = |name: &str| {
            let values = xml.into_iter().flat_map(Element::children);
            values.filter(|v| v.attribute("Name") == Some(name)).map(Element::text).next()
        };
        let wait = value("BackOffMilliseconds").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        // An internal error may be a cloak: what is inside counts.
        let inner = value("InnerErrorResponseCode").filter(|inner| is_code(inner) && *inner != "NoError");
        let code = code.filter(|code| is_code(code));
        let code = match (code, inner) {
            (Some("ErrorInternalServerError"), Some(inner)) => inner,
            (code, _) => code.unwrap_or_default(),
        };
        Said { code: code.to_owned(), wait: wait.map(|w| w.min(MAX_WAIT)).filter(|w| !w.is_zero()) }
    }
}

/// Letters, digits and underscores, at most 80: safe to show.
fn is_code(text: &str) -> bool {
    (1..=80).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_throttle(code: &str) -> bool {
    matches!(code, "ErrorServerBusy" | "ErrorExceededConnectionCount" | "ErrorTooManyObjectsOpened")
}

/// What a response code says about what was asked. Only what the service documents as refused before anything was done
/// is *not sent*, only what it says of the content is *refused*; of the rest we look whether it was done.
fn by_code(said: &Said, what: &str) -> Fault {
    let code = said.code.as_str();
    let text = format!("{what}: the target answered {code}");
    let error = |kind, scope| Error::new(kind, scope, text.clone());
    let temporary = |kind, scope| Error::temporary(kind, scope, text.clone());
    match code {
        _ if is_throttle(code) => Fault::NotSent(Error::throttled(Scope::Mailbox, text, said.wait)),
        "ErrorBatchProcessingStopped" => Fault::Stopped(temporary(Kind::Unreachable, Scope::Mailbox)),
        "ErrorMailboxMoveInProgress" => Fault::NotSent(
            temporary(Kind::Unreachable, Scope::Mailbox)
                .remedy("the mailbox is being moved between databases; run again when that is over"),
        ),
        "ErrorQuotaExceeded" | "ErrorQuotaExceededOnDelete" => {
            Fault::NotSent(error(Kind::Quota, Scope::Mailbox).remedy(
                "enlarge the target mailbox's quota (or its folder holds a million messages), then run again",
            ))
        }
        "ErrorNonExistentMailbox"
        | "ErrorMissingEmailAddress"
        | "ErrorInvalidSmtpAddress"
        | "ErrorMailboxConfiguration"
        | "ErrorMissingInformationEmailAddress" => Fault::NotSent(
            error(Kind::NotFound, Scope::Mailbox)
                .remedy("check the target address and that the mailbox is provisioned on this server"),
        ),
        "ErrorImpersonateUserDenied"
        | "ErrorImpersonationDenied"
        | "ErrorImpersonationFailed"
        | "ErrorInvalidExchangeImpersonationHeaderData" => {
            Fault::NotSent(error(Kind::Denied, Scope::Mailbox).remedy(
                "give the account the role ApplicationImpersonation, its scope including this mailbox",
            ))
        }
        "ErrorAccessDenied"
        | "ErrorCreateItemAccessDenied"
        | "ErrorAccountDisabled"
        | "ErrorPasswordExpired"
        | "ErrorPasswordChangeRequired" => Fault::NotSent(
            error(Kind::Denied, Scope::Mailbox)
                .remedy("give the account full access to this mailbox, or use impersonation"),
        ),
        "ErrorInvalidServerVersion" | "ErrorIncorrectSchemaVersion" => Fault::NotSent(
            error(Kind::Config, Scope::Endpoint).remedy("set `version` to one that the server speaks"),
        ),
        "ErrorItemNotFound"
        | "ErrorInvalidId"
        | "ErrorInvalidIdMalformed"
        | "ErrorInvalidIdEmpty"
        | "ErrorInvalidIdStoreObjectIdTooLong"
        | "ErrorInvalidIdNotAnItemAttachmentId"
        | "ErrorInvalidIdMalformedEwsLegacyIdFormat"
        | "ErrorCannotUseItemIdForFolderId" => Fault::NotSent(error(Kind::NotFound, Scope::Message)),
        "ErrorFolderNotFound"
        | "ErrorInvalidFolderId"
        | "ErrorCannotUseFolderIdForItemId"
        | "ErrorParentFolderNotFound"
        | "ErrorToFolderNotFound"
        | "ErrorSavedItemFolderNotFound" => Fault::NotSent(error(Kind::NotFound, Scope::Folder)),
        "ErrorFolderExists" => Fault::NotSent(error(Kind::Conflict, Scope::Folder)),
        "ErrorIrresolvableConflict" | "ErrorStaleObject" | "ErrorChangeKeyRequired" => {
            Fault::Unknown(temporary(Kind::Conflict, Scope::Message))
        }
        "ErrorMessageSizeExceeded" | "ErrorAttachmentSizeLimitExceeded" => Fault::Refused(
            error(Kind::TooLarge, Scope::Message)
                .remedy("raise the server's size limits, or hand the message over as a file"),
        ),
        "ErrorMimeContentInvalid"
        | "ErrorMimeContentInvalidBase64String"
        | "ErrorMimeContentConversionFailed"
        | "ErrorContentConversionFailed"
        | "ErrorCorruptData"
        | "ErrorItemCorrupt"
        | "ErrorItemSave"
        | "ErrorItemSavePropertyError"
        | "ErrorItemSavePropertySizeError"
        | "ErrorPropertyValidationFailure"
        | "ErrorObjectTypeChanged"
        | "ErrorInvalidItemForOperationCreateItem" => Fault::Refused(
            error(Kind::Refused, Scope::Message)
                .remedy("look at the message at the source; hand it over as a file if it is wanted"),
        ),
        "ErrorSchemaValidation"
        | "ErrorInvalidRequest"
        | "ErrorInvalidPropertyRequest"
        | "ErrorInvalidPropertySet"
        | "ErrorInvalidOperation"
        | "ErrorUnsupportedPropertyDefinition"
        | "ErrorInvalidExtendedProperty"
        | "ErrorInvalidExtendedPropertyValue"
        | "ErrorInvalidPropertyUpdateSentMessage" => Fault::Refused(error(Kind::Refused, Scope::Message)),
        // Nobody knows how far it came: internal and transient errors, timeouts, stores that went away, and all codes
        // this program does not know.
        _ => Fault::Unknown(temporary(Kind::Unreachable, Scope::Mailbox)),
    }
}

/// What an HTTP status says when there is no code.
fn by_status(status: u16, wait: Option<Duration>, what: &str) -> Fault {
    let text = format!("{what}: the target answered HTTP {status}");
    let error = |kind, scope| Error::new(kind, scope, text.clone());
    let temporary = |kind, scope| Error::temporary(kind, scope, text.clone());
    match status {
        // 503: the web server's queue is full; the request was not looked at.
        429 | 503 => Fault::NotSent(Error::throttled(Scope::Mailbox, text, wait)),
        401 => Fault::NotSent(
            error(Kind::Auth, Scope::Endpoint).remedy("check the account, its password or the app's consent"),
        ),
        403 => Fault::NotSent(error(Kind::Denied, Scope::Mailbox).remedy(
            "allow EWS for this mailbox and this application (Set-CASMailbox, EwsAllowedAppIDs), or move to Graph",
        )),
        404 => Fault::NotSent(
            error(Kind::NotFound, Scope::Endpoint)
                .remedy("check `url`: it ends in /EWS/Exchange.asmx; of a large message: the web server's request limit"),
        ),
        413 => Fault::Refused(
            error(Kind::TooLarge, Scope::Message)
                .remedy("raise the web server's request limit, lower `max_message`, or hand the message over as a file"),
        ),
        300..400 => Fault::NotSent(
            error(Kind::Protocol, Scope::Endpoint)
                .remedy("redirects are not followed: a login would follow them; set the right `url`"),
        ),
        408 | 500..600 => Fault::Unknown(temporary(Kind::Unreachable, Scope::Mailbox)),
        400..500 => Fault::Refused(error(Kind::Refused, Scope::Message)),
        // A success that is none: no answer to what was asked.
        _ => Fault::Unknown(temporary(Kind::Protocol, Scope::Mailbox)),
    }
}

/// The `Id` of an element `name` below: not empty, visible ASCII, of a sane length. Ids are case-sensitive and opaque.
pub(super) fn id<'a>(at: Element<'a>, name: &str) -> Option<&'a str> {
    at.child(name)?
        .attribute("Id")
        .filter(|id| (1..=2000).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
}

#[cfg(test)]
mod tests;
